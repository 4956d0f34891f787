package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/quic"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

const (
	// mostWelcomes bounds the links whose purpose is not known yet.
	mostWelcomes = 64
	// welcomeTime is how long a peer may take to say what a link is for, and
	// this node to start whom it is led to.
	welcomeTime = 15 * time.Second
)

// discoveryOptions are those of the agent.
func (n *Network) discoveryOptions(m *member) discovery.Options {
	c := n.o.Config
	o := discovery.Options{Port: c.Port, Broadcast: c.Broadcast, NoMulticast: !c.Multicast, Seeds: c.Seeds,
		Addresses: n.addresses(m), Services: n.o.Local.Services(), Logger: n.o.Logger}
	if len(c.Interfaces) > 0 {
		o.Interface = func(name string) bool { return slices.Contains(c.Interfaces, name) }
	}
	discovery.FromIdentity(&o.Config, m.credentials, m.trust, "")
	return o
}

// addresses are where others reach this node: where its pheromones come from,
// and what the configuration adds.
func (n *Network) addresses(m *member) []discovery.Address {
	port := uint16(m.endpoint.Addr().Port)
	all := []discovery.Address{{Medium: MediumQUIC, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), port)}}
	for _, text := range n.o.Config.Addresses {
		if a, err := netip.ParseAddrPort(text); err == nil { // Check has seen it
			all = append(all, discovery.Address{Medium: MediumQUIC, Addr: a})
		}
	}
	return all
}

// accept takes links from other nodes until ctx ends.
func (n *Network) accept(ctx context.Context, m *member) {
	places := make(chan struct{}, mostWelcomes)
	for {
		l, err := m.endpoint.Accept(ctx)
		if err != nil {
			return
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			_ = l.Close()
			return
		}
		n.work.Go(func() {
			known := sync.OnceFunc(func() { <-places })
			defer known()
			n.welcome(ctx, m, l, known)
		})
	}
}

// welcome finds out what a link is for, and gives it to whom it concerns. known is
// called when that is known.
func (n *Network) welcome(ctx context.Context, m *member, l *quic.Link, known func()) {
	short, cancel := context.WithTimeoutCause(ctx, welcomeTime, fmt.Errorf("the peer did not say within %v what the link is for", welcomeTime))
	defer cancel()
	from := l.Peer()
	var p purpose
	var name string
	var correlation uint32
	err := hear(short, l, func(v *wire.Vesicle) (err error) {
		correlation = v.Header.Correlation
		p, name, err = parseIntroduction(&v.Header, v.Payload)
		return err
	})
	var serve func(link.Link) error
	if err == nil {
		switch p {
		case purposeCell:
			serve, err = n.o.Local.Lead(short, name, from.ID)
		case purposeGossip:
			serve = func(l link.Link) error { n.runGossip(ctx, m, from.ID, l); return nil }
		case purposeList:
			err = sendList(short, l, correlation, m.agent.ServiceList())
		}
	} else {
		err = rpc.Errorf(wire.StatusInvalidArgument, "%w", err)
	}
	if err != nil {
		n.refuse(from.ID.Short(), name, err)
	}
	if answerErr := answer(short, l, correlation, err); err != nil || answerErr != nil || serve == nil {
		n.finish(l)
		return
	}
	known()
	if err := serve(l); err != nil {
		n.o.Logger.Warn("network: a link from another node can't be served", "cell", name, "err", err)
		_ = l.Close()
	}
}

// finish ends a link when what was said on it has arrived, or after a moment.
func (n *Network) finish(l *quic.Link) {
	n.work.Go(func() {
		l.Shutdown()
		_ = l.Close()
	})
}

// sendList sends the list of services in pieces that any link carries.
func sendList(ctx context.Context, l link.Link, correlation uint32, list []byte) error {
	h := wire.Header{Kind: wire.KindStreamItem, Channel: wire.ChannelOperations, Fingerprint: introduceFingerprint, Correlation: correlation, Hops: 1}
	most := min(l.Info().MaxPayload, 16<<10)
	for len(list) > 0 {
		piece := list[:min(len(list), most)]
		if err := say(ctx, l, h, piece); err != nil {
			return err
		}
		list = list[len(piece):]
	}
	return nil
}

// refuse notes that somebody was turned away.
func (n *Network) refuse(who, what string, why error) {
	n.mu.Lock()
	n.refusals.add(who, what, why)
	n.mu.Unlock()
	n.o.Refused(who, what, why)
}

// refusals are the last ones, for people.
type refusals struct {
	total uint64
	last  []Refusal
}

// Refusal is a peer that was turned away, or that has turned this node away.
type Refusal struct {
	At        time.Time
	Who, What string
	Why       string
}

// refusalsKept is how many are remembered.
const refusalsKept = 16

func (r *refusals) add(who, what string, why error) {
	r.total++
	if len(r.last) == refusalsKept {
		r.last = r.last[1:]
	}
	r.last = append(r.last, Refusal{time.Now(), who, what, printable(why.Error())})
}

// dialer opens links to cells of other nodes.
type dialer struct{ endpoint *quic.Endpoint }

// Medium implements discovery.Dialer.
func (dialer) Medium() string { return MediumQUIC }

// Dial implements discovery.Dialer.
func (d dialer) Dial(ctx context.Context, p discovery.Path) (link.Link, error) {
	return d.open(ctx, p.Addr.String(), p.Node, purposeCell, p.Service, nil, nil)
}

// open opens a link and introduces it.
func (d dialer) open(ctx context.Context, addr string, peer identity.ID, p purpose, name string, o *quic.LinkOptions, each func([]byte) error) (*quic.Link, error) {
	l, err := d.endpoint.Dial(ctx, addr, peer, o)
	if err != nil {
		return nil, err
	}
	if err := introduce(ctx, l, p, name, each); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// fetcher gets lists of services that beacons have no room for.
type fetcher struct{ m *member }

// FetchServices implements discovery.Fetcher.
func (f fetcher) FetchServices(ctx context.Context, from discovery.Peer, list discovery.ServiceList) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	addrs := from.Reach(MediumQUIC)
	if len(addrs) == 0 {
		return nil, fmt.Errorf("it tells no address for links")
	}
	var errs []error
	for _, a := range addrs {
		var all []byte
		l, err := dialer{f.m.endpoint}.open(ctx, a.String(), from.ID, purposeList, "", &quic.LinkOptions{Lanes: 1}, func(b []byte) error {
			if len(all)+len(b) > mostList {
				return fmt.Errorf("its list is longer than %d bytes", mostList)
			}
			all = append(all, b...)
			return nil
		})
		if err == nil {
			return all, l.Close()
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

const (
	fetchTime = 5 * time.Second
	mostList  = 1 << 20
)
