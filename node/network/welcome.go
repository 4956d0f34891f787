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
	// mostWelcomes and mostWelcomesOfPeer bound the links whose purpose is not
	// known yet.
	mostWelcomes, mostWelcomesOfPeer = 1024, 16
	// introductionTime is how long a peer may take to say what a link is for.
	introductionTime = 5 * time.Second
	// welcomeTime is how long this node may take to start whom a link is led to.
	welcomeTime = 15 * time.Second
	// farewellTime is how long a peer that is refused has to read why.
	farewellTime = time.Second
)

// places are those of links whose purpose is not known yet. Each peer has its
// own, so that none can keep the others waiting.
type places struct {
	mu    sync.Mutex
	taken int
	of    map[identity.ID]int
}

// take takes one for a peer. The error says why there is none.
func (p *places) take(peer identity.ID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.of[peer] >= mostWelcomesOfPeer:
		return rpc.Errorf(wire.StatusResourceExhausted, "%d links of this node have not said what they are for; say it, or close them", p.of[peer])
	case p.taken >= mostWelcomes:
		return rpc.Errorf(wire.StatusResourceExhausted, "%d links have not said what they are for; dial again in a moment", p.taken)
	}
	if p.of == nil {
		p.of = map[identity.ID]int{}
	}
	p.taken++
	p.of[peer]++
	return nil
}

// give gives one back.
func (p *places) give(peer identity.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.of[peer]--; p.of[peer] == 0 {
		delete(p.of, peer)
	}
}

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

// addresses are what beacons tell: where others reach this node directly, where
// it enrols them, where its member of a cluster is, and at which relays it waits
// for them.
func (n *Network) addresses(m *member) (all []discovery.Address) {
	for _, a := range n.reached(m) {
		all = append(all, discovery.Address{Medium: MediumQUIC, Addr: a})
	}
	for _, a := range n.enrolling(m) {
		all = append(all, discovery.Address{Medium: MediumEnrol, Addr: a})
	}
	if n.o.Raft.IsValid() {
		all = append(all, discovery.Address{Medium: MediumRaft, Addr: n.o.Raft})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, addr := range n.o.Config.WaitAt { // in an order that does not change
		if a := n.relays[addr]; a.IsValid() {
			all = append(all, discovery.Address{Medium: MediumRelay, Addr: a})
		}
	}
	return all[:min(len(all), discovery.MaxAddresses)]
}

// reached is where the endpoint is: where this node's pheromones come from, and
// what the configuration adds.
func (n *Network) reached(m *member) []netip.AddrPort {
	all := []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(m.endpoint.Addr().Port))}
	for _, text := range n.o.Config.Addresses {
		if a, err := netip.ParseAddrPort(text); err == nil { // Check has seen it
			all = append(all, a)
		}
	}
	return all
}

// accept takes links from other nodes until ctx ends.
func (n *Network) accept(ctx context.Context, m *member) {
	for {
		l, err := m.endpoint.Accept(ctx)
		if err != nil {
			return
		}
		from := l.Peer().ID
		if err := n.places.take(from); err != nil {
			n.refuse(from.Short(), "a link", err)
			n.work.Go(func() { n.turnAway(ctx, l, err) })
			continue
		}
		n.work.Go(func() {
			known := sync.OnceFunc(func() { n.places.give(from) })
			defer known()
			n.welcome(ctx, m, l, known)
		})
	}
}

// turnAway answers a link without having read what it is for.
func (n *Network) turnAway(ctx context.Context, l *quic.Link, why error) {
	short, cancel := context.WithTimeout(ctx, farewellTime)
	defer cancel()
	_ = answer(short, l, introduceCorrelation, why)
	n.finish(l)
}

// welcome finds out what a link is for, and gives it to whom it concerns. known is
// called when that is known.
func (n *Network) welcome(ctx context.Context, m *member, l *quic.Link, known func()) {
	from := l.Peer()
	var p purpose
	var name string
	var correlation uint32
	short, cancel := context.WithTimeoutCause(ctx, n.introduction, fmt.Errorf("the peer did not say within %v what the link is for", n.introduction))
	err := hear(short, l, func(v *wire.Vesicle) (err error) {
		correlation = v.Header.Correlation
		p, name, err = parseIntroduction(&v.Header, v.Payload)
		return err
	})
	cancel()
	known()
	short, cancel = context.WithTimeout(ctx, welcomeTime)
	defer cancel()
	var serve func(link.Link) error
	if err == nil {
		switch p {
		case purposeCell:
			serve, err = n.o.Local.Lead(short, name, from.ID)
		case purposeGossip:
			serve = func(l link.Link) error { n.runGossip(ctx, m, from.ID, l, false); return nil }
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
	tell := n.refusals.add(time.Now(), who, what, why)
	n.mu.Unlock()
	if tell {
		n.o.Refused(sourceOf(who), who, what, why)
	}
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
	return introduced(ctx, l, p, name, each)
}

// introduced introduces a link that was dialed. It owns l if it fails.
func introduced(ctx context.Context, l *quic.Link, p purpose, name string, each func([]byte) error) (*quic.Link, error) {
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
