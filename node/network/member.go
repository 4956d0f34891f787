package network

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/quic"
)

// MediumEnrol names the addresses at which nodes are enrolled and memberships
// renewed: beacons of nodes that do so tell it, so members find them by themselves.
const MediumEnrol = "enrol"

// offer sets what the endpoint does for others.
func (n *Network) offer(m *member, o *quic.Options) error {
	c := n.o.Config
	if c.Relay {
		o.Relay = &quic.RelayOptions{}
	}
	if !c.Enrol {
		return nil
	}
	issuer, err := identity.NewIssuer(m.dir, m.trust, time.Duration(c.MembersFor))
	if err != nil {
		return fmt.Errorf("network.enrol: %w", err)
	}
	o.Enrol = func(id identity.ID, e identity.Evidence) (*identity.Enrolment, error) {
		made, err := issuer.Enrol(id, e)
		if err == nil {
			n.o.Logger.Info("network: enrolled", "node", id.String(), "until", made.Membership.NotAfter)
		}
		return made, err
	}
	return nil
}

// show shows others a membership that was prolonged meanwhile, by this process or
// another one.
func (n *Network) show(m *member) {
	fresh, err := identity.LoadCredentials(m.dir)
	if err != nil || fresh.ID() != m.credentials.ID() {
		return // another key takes a restart
	}
	now, before := fresh.Membership(), m.credentials.Membership()
	if now == nil || before != nil && now.Serial == before.Serial && now.Until().Equal(before.Until()) {
		return
	}
	if err := m.credentials.SetMembership(now); err != nil {
		n.o.Logger.Error("network: the new membership", "err", err)
		return
	}
	n.o.Logger.Info("network: member", "cluster", now.Cluster.String(), "until", now.Until())
}

const (
	// renewPace is how often it is looked whether the membership is to be
	// renewed, and renewPaceMost how seldom, after failures.
	renewPace, renewPaceMost = time.Second, time.Minute
	// renewTime bounds one attempt.
	renewTime = 10 * time.Second
)

// keepMember renews the membership long before it ends, where anybody enrols,
// until ctx ends.
func (n *Network) keepMember(ctx context.Context, m *member) {
	for pace := renewPace; ; {
		if k := m.credentials.Membership(); k != nil && due(k, time.Now()) {
			switch err := n.renew(ctx, m); {
			case err == nil:
				pace = renewPace
			case errors.Is(err, errNobodyEnrols):
				n.o.Logger.Debug("network: the membership is not renewed", "until", k.Until(), "err", err)
				pace = min(2*pace, renewPaceMost)
			default:
				n.o.Logger.Warn("network: the membership is not renewed", "until", k.Until(), "err", err)
				pace = min(2*pace, renewPaceMost)
			}
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
			return
		}
	}
}

// due reports whether a membership is to be renewed: after half of its time, or
// at once if it is a token's, which the cluster's key has not confirmed.
func due(k *identity.Membership, now time.Time) bool {
	return !k.Confirmed() || now.Sub(k.NotBefore) > k.Until().Sub(k.NotBefore)/2
}

var errNobodyEnrols = errors.New("network: no node that is known enrols; it is done where the cluster's key lies (network.enrol, network.enrol_at)")

// renew has the membership renewed by whoever does so.
func (n *Network) renew(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	at := n.enrollers(m)
	if len(at) == 0 {
		return errNobodyEnrols
	}
	var errs []error
	for _, addr := range at {
		made, err := quic.Enrol(ctx, addr, m.credentials)
		if err == nil {
			if err := identity.SaveEnrolment(m.dir, made); err != nil {
				return err
			}
			n.show(m)
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// enrollers are the addresses of nodes that enrol, those of this configuration
// first, the others in random order.
func (n *Network) enrollers(m *member) []string {
	all := slices.Clone(n.o.Config.EnrolAt)
	known := len(all)
	for _, peer := range m.agent.Peers() {
		for _, a := range peer.Reach(MediumEnrol) {
			if !slices.Contains(all, a.String()) {
				all = append(all, a.String())
			}
		}
	}
	rand.Shuffle(len(all)-known, func(i, j int) { all[known+i], all[known+j] = all[known+j], all[known+i] })
	return all[:min(len(all), known+3)]
}

// enrolling is where others are enrolled here: where links come in.
func (n *Network) enrolling(m *member) (all []netip.AddrPort) {
	if !n.o.Config.Enrol {
		return nil
	}
	all = n.reached(m)
	return all[:min(len(all), 2)] // a beacon has little room
}
