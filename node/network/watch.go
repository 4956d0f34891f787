package network

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/quic"
)

// aliveTime is how long a node that beacons say is dead has to answer over QUIC
// before the calls that are under way to it are given up.
const aliveTime = 500 * time.Millisecond

// watch follows who is there until ctx ends.
func (n *Network) watch(ctx context.Context, m *member) {
	w := m.agent.Watch()
	defer w.Close()
	started := map[identity.ID]uint64{} // incarnations
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return
		}
		id := e.Peer.ID
		switch before, known := started[id]; {
		case e.Kind.Gone():
			delete(started, id)
			if e.Kind != discovery.Left { // who leaves finishes what it has
				n.work.Go(func() { n.doubt(ctx, m, id, aliveTime) })
			}
		case known && e.Peer.Beacon.Incarnation != before:
			n.work.Go(func() { n.doubt(ctx, m, id, aliveTime) })
			fallthrough
		default:
			started[id] = e.Peer.Beacon.Incarnation
		}
		n.refresh(m)
	}
}

// doubt asks a node that is taken for dead, or has started again, whether it
// answers in time over the connection that there is, by a relay or without one, and
// drops all there are if not.
func (n *Network) doubt(ctx context.Context, m *member, id identity.ID, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	l, err := m.endpoint.DialKnown(ctx, id, &quic.LinkOptions{Lanes: 1})
	if err == nil {
		l, err = introduced(ctx, l, purposeAlive, "", nil)
	}
	if err == nil {
		_ = l.Close()
		return
	}
	if errors.Is(err, errAnswered) || errors.Is(err, quic.ErrRefused) {
		return // it is too busy for this, and lives
	}
	dropped := m.endpoint.Drop(id)
	if dropped == 0 {
		return // there was none, and so nothing went over it
	}
	n.o.Logger.Info("network: connections dropped", "node", id.Short(), "connections", dropped, "why", err)
	for _, p := range n.all() {
		p.changing.Lock()
		if t := p.targets[id]; t != nil {
			t.drop()
		}
		p.changing.Unlock()
	}
}

// refresh opens sockets for names that others serve now, closes those of names
// that nobody serves, and has the rest take up who does.
func (n *Network) refresh(m *member) {
	served := map[string]bool{}
	for _, peer := range m.agent.Peers() {
		for _, s := range n.servicesOf(m, &peer) {
			served[s.Name] = true
		}
	}
	n.mu.Lock()
	if n.closing.Err() != nil {
		n.mu.Unlock()
		return
	}
	var gone, there []*proxy
	for name, p := range n.proxies {
		if served[name] {
			there = append(there, p)
			continue
		}
		gone = append(gone, p)
		delete(n.proxies, name)
	}
	for name := range served {
		if n.proxies[name] != nil {
			continue
		}
		if len(n.proxies) >= mostNames {
			n.tooMany = true
			break
		}
		n.proxies[name] = n.open(name)
	}
	n.mu.Unlock()
	for _, p := range gone {
		n.work.Go(p.close)
	}
	for _, p := range there {
		n.work.Go(func() {
			p.changing.Lock()
			defer p.changing.Unlock()
			p.update()
		})
	}
}

// servicesOf returns a peer's services, without those whose list is still being
// fetched, and those whose names mean this host's own to whoever dials them.
func (n *Network) servicesOf(m *member, peer *discovery.Peer) []discovery.Service {
	if peer.Beacon == nil || peer.Beacon.Listed.Count == 0 || m.agent.Fetched(peer) {
		s, _ := m.agent.Services(context.Background(), peer)
		if slices.ContainsFunc(s, reserved) {
			s = slices.DeleteFunc(slices.Clone(s), reserved)
		}
		return s
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fetching[peer.ID] {
		return nil
	}
	n.fetching[peer.ID] = true
	who := *peer
	n.work.Go(func() {
		_, err := m.agent.Services(n.closing, &who)
		if err != nil {
			n.o.Logger.Warn("network: services can't be learned", "err", err)
			select {
			case <-time.After(refusalTime):
			case <-n.closing.Done():
			}
		}
		n.mu.Lock()
		delete(n.fetching, who.ID)
		n.mu.Unlock()
		n.refresh(m) // which tries again, if the peer is there still
	})
	return nil
}

func reserved(s discovery.Service) bool { return config.Reserved(s.Name) }

// providers returns the instances of a name.
func (n *Network) providers(name string) (all []provider) {
	m := n.self.Load()
	if m == nil {
		return nil
	}
	for _, peer := range m.agent.Peers() {
		services := n.servicesOf(m, &peer)
		if i := slices.IndexFunc(services, func(s discovery.Service) bool { return s.Name == name }); i >= 0 {
			all = append(all, provider{peer, services[i]})
		}
	}
	return all
}
