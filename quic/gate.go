package quic

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	quicgo "github.com/quic-go/quic-go"
)

// gate bounds what peers cost before anything is known about them, and how far
// the windows of those who are known may grow in all.
type gate struct {
	most, each int
	connsMost  int
	memory     int64

	passes *passings // by which others reach this node through relays; may be nil

	mu      sync.Mutex
	shaking map[netip.AddrPort]int // handshakes in progress, by source
	total   int
	inside  int // connections, from their first packet on

	used   atomic.Int64 // of memory
	grants sync.Map     // *quicgo.Conn → *atomic.Int64: its part of used
}

// entry is one connection's place.
type entry struct {
	gate *gate
	addr netip.AddrPort
	once sync.Once // its handshake is over
	also func()    // called when it goes; may be nil
}

type entryKey struct{}

// relayedHandshakes bounds the handshakes in progress of one pair of a relay's: a
// node needs one.
const relayedHandshakes = 2

func (g *gate) open(o *Options) {
	g.most, g.each, g.connsMost, g.memory = o.MaxHandshakes, max(o.MaxHandshakes/8, 1), o.MaxConnections+o.MaxHandshakes, o.MaxMemory
	g.shaking = make(map[netip.AddrPort]int)
}

// suspicious asks new peers to prove that they are where they say, when many
// handshakes are in progress.
func (g *gate) suspicious(net.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total >= g.most/4
}

// enter admits a new connection or, with an error, doesn't.
func (g *gate) enter(ctx context.Context, info *quicgo.ClientInfo) (context.Context, error) {
	e, err := g.admit(info.RemoteAddr)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, e.gone) // the handshake failed, or the connection has ended
	return context.WithValue(ctx, entryKey{}, e), nil
}

// admit gives a connection a place, and one among the handshakes in progress.
func (g *gate) admit(from net.Addr) (*entry, error) {
	addr, each := netip.AddrPortFrom(sourceOf(from), 0), g.each
	if g.passes != nil {
		if _, ok := g.passes.find(from); ok {
			// All that a relay passes on comes from its address: one caller
			// must not take the places of the others.
			addr, each = from.(*net.UDPAddr).AddrPort(), relayedHandshakes
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.total >= g.most:
		return nil, fmt.Errorf("quic: %d handshakes are in progress (Options.MaxHandshakes)", g.total)
	case g.shaking[addr] >= each:
		return nil, fmt.Errorf("quic: %d handshakes of %v are in progress", g.shaking[addr], from)
	case g.inside >= g.connsMost:
		return nil, fmt.Errorf("quic: %d connections are open (Options.MaxConnections)", g.inside)
	}
	g.total++
	g.shaking[addr]++
	g.inside++
	return &entry{gate: g, addr: addr}, nil
}

// shaken gives back the place among the handshakes.
func (e *entry) shaken() {
	e.once.Do(func() {
		g := e.gate
		g.mu.Lock()
		defer g.mu.Unlock()
		g.total--
		if g.shaking[e.addr]--; g.shaking[e.addr] == 0 {
			delete(g.shaking, e.addr)
		}
	})
}

// gone gives everything back. It is called once.
func (e *entry) gone() {
	e.shaken()
	e.gate.mu.Lock()
	e.gate.inside--
	e.gate.mu.Unlock()
	if e.also != nil {
		e.also()
	}
}

// leave gives the place of a handshake back; ctx is the connection's.
func (g *gate) leave(ctx context.Context) {
	if e, ok := ctx.Value(entryKey{}).(*entry); ok {
		e.shaken()
	}
}

// sourceOf is by what addresses are counted: a single IPv4 address, but a whole
// /64 of IPv6, which one host has to itself.
func sourceOf(a net.Addr) netip.Addr {
	var raw net.IP
	switch a := a.(type) {
	case *net.UDPAddr:
		raw = a.IP
	case *net.TCPAddr:
		raw = a.IP
	}
	ip, ok := netip.AddrFromSlice(raw)
	if ip = ip.Unmap(); !ok || ip.Is4() {
		return ip
	}
	p, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return ip
	}
	return p.Addr()
}

// allowGrowth decides whether a connection's window may grow.
func (g *gate) allowGrowth(c *quicgo.Conn, delta uint64) bool {
	n := int64(min(delta, 1<<40))
	if g.used.Add(n) > g.memory {
		g.used.Add(-n)
		return false
	}
	part, _ := g.grants.LoadOrStore(c, new(atomic.Int64))
	part.(*atomic.Int64).Add(n)
	return true
}

// giveBack takes a connection that has ended out of the account.
func (g *gate) giveBack(c *quicgo.Conn) {
	if part, ok := g.grants.LoadAndDelete(c); ok {
		g.used.Add(-part.(*atomic.Int64).Load())
	}
}
