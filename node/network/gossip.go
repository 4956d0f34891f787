package network

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/quic"
	"github.com/cell-runtime/cell/wire"
)

// gossipFingerprint is the first 8 bytes of SHA-256 of "cell node gossip v1",
// little endian.
const gossipFingerprint = 0x45a7a9dad1ddd5c9

// gossip is a link over which two nodes tell each other of those that they know.
type gossip struct {
	link   link.Link
	dialed bool // by this node
	ended  chan struct{}
}

var gossipHeader = wire.Header{Kind: wire.KindEvent, Channel: wire.ChannelDiscovery, Fingerprint: gossipFingerprint, Hops: 1}

// send sends a pheromone, or drops it where there is no room. The agent calls it
// under its lock, so never twice at once.
func (g *gossip) send(pheromone []byte) error {
	var out [1]wire.Vesicle
	if _, err := g.link.Claim(out[:], len(pheromone)); err != nil {
		return err
	}
	copy(out[0].Payload, pheromone)
	out[0].Header = gossipHeader
	if err := g.link.Commit(out[:]); err != nil {
		return err
	}
	if err := g.link.Flush(); !errors.Is(err, link.ErrFull) {
		return err
	}
	return nil // it goes with the next one
}

// runGossip gossips with a peer over a link until that ends, and closes it. A
// peer has one such link: the newest, or, where both nodes have dialed, the one
// that the node with the smaller ID has; both sides decide so.
func (n *Network) runGossip(ctx context.Context, m *member, peer identity.ID, l link.Link, dialed bool) {
	g := &gossip{link: l, dialed: dialed, ended: make(chan struct{})}
	stop := context.AfterFunc(ctx, l.Shutdown)
	defer stop()
	self := m.credentials.ID()
	smaller := bytes.Compare(self[:], peer[:]) < 0
	n.mu.Lock()
	before := n.gossips[peer]
	if before != nil && before.dialed != dialed && dialed != smaller {
		n.mu.Unlock()
		_ = l.Close()
		return
	}
	n.gossips[peer] = g
	n.mu.Unlock()
	if before != nil {
		before.link.Shutdown()
		<-before.ended
	}
	if m.agent.LinkUp(discovery.ID(peer), g.send) {
		n.o.Logger.Info("network: gossip", "peer", peer.Short())
		g.receive(ctx, m.agent, discovery.ID(peer))
	} else {
		n.o.Logger.Warn("network: no gossip, for there are too many links for it", "peer", peer.Short())
	}
	n.mu.Lock()
	if n.gossips[peer] == g {
		delete(n.gossips, peer)
	}
	n.mu.Unlock()
	m.agent.LinkDown(discovery.ID(peer)) // from here on nothing is sent
	_ = l.Close()
	close(g.ended)
}

// awaitGossip waits until there is no link for gossip to a peer, or ctx ends.
func (n *Network) awaitGossip(ctx context.Context, peer identity.ID) {
	for {
		n.mu.Lock()
		g := n.gossips[peer]
		n.mu.Unlock()
		if g == nil {
			return
		}
		select {
		case <-g.ended:
		case <-ctx.Done():
			return
		}
	}
}

// receive gives what comes to the agent until the link ends.
func (g *gossip) receive(ctx context.Context, agent *discovery.Agent, peer discovery.ID) {
	for {
		err := hear(ctx, g.link, func(v *wire.Vesicle) error {
			if v.Header.Channel == wire.ChannelDiscovery && v.Header.Fingerprint == gossipFingerprint {
				agent.LinkReceive(peer, v.Payload)
			}
			return nil
		})
		if err != nil {
			return
		}
	}
}

const (
	gossipPace     = time.Second
	gossipPaceMost = time.Minute
	gossipDialTime = 10 * time.Second
)

// keepGossip keeps a link for gossip to whatever trusted node is at an address,
// until ctx ends.
func (n *Network) keepGossip(ctx context.Context, m *member, addr string) {
	for pace := gossipPace; ; pace = min(2*pace, gossipPaceMost) {
		short, cancel := context.WithTimeout(ctx, gossipDialTime)
		l, err := dialer{m.endpoint}.open(short, addr, identity.ID{}, purposeGossip, "", &quic.LinkOptions{Lanes: 1}, nil)
		cancel()
		if err == nil {
			begun := time.Now()
			peer := l.Peer().ID
			n.runGossip(ctx, m, peer, l, true)
			n.awaitGossip(ctx, peer) // which the peer has dialed
			if time.Since(begun) > gossipPaceMost {
				pace = gossipPace
			}
		} else if ctx.Err() == nil {
			n.o.Logger.Warn("network: no link for gossip", "addr", addr, "err", err)
			if refuses(err) {
				n.mu.Lock()
				n.refusals.add(time.Now(), addr, "a link for gossip", err)
				n.mu.Unlock()
			}
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
			return
		}
	}
}

// refuses reports whether an error says that one side does not let the other in.
func refuses(err error) bool {
	for _, known := range []error{quic.ErrRefused, identity.ErrUnknown, identity.ErrRevoked, identity.ErrOtherPeer} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}
