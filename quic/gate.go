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

	mu      sync.Mutex
	shaking map[netip.Addr]int // handshakes in progress, by address
	total   int

	inside atomic.Int64 // connections, from their first packet on
	used   atomic.Int64 // of memory
	grants sync.Map     // *quicgo.Conn → *atomic.Int64: its part of used
}

// entry is one handshake's place.
type entry struct {
	once sync.Once
	done func()
}

type entryKey struct{}

func (g *gate) open(o *Options) {
	g.most, g.each, g.connsMost, g.memory = o.MaxHandshakes, max(o.MaxHandshakes/8, 1), o.MaxConnections+o.MaxHandshakes, o.MaxMemory
	g.shaking = make(map[netip.Addr]int)
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
	addr := sourceOf(info.RemoteAddr)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.total >= g.most:
		return nil, fmt.Errorf("quic: %d handshakes are in progress (Options.MaxHandshakes)", g.total)
	case g.shaking[addr] >= g.each:
		return nil, fmt.Errorf("quic: %d handshakes of %v are in progress", g.shaking[addr], addr)
	case g.inside.Load() >= int64(g.connsMost):
		return nil, fmt.Errorf("quic: %d connections are open (Options.MaxConnections)", g.inside.Load())
	}
	g.total++
	g.shaking[addr]++
	g.inside.Add(1)
	e := &entry{done: func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.total--
		if g.shaking[addr]--; g.shaking[addr] == 0 {
			delete(g.shaking, addr)
		}
	}}
	context.AfterFunc(ctx, func() { // the handshake failed, or the connection has ended
		g.inside.Add(-1)
		e.once.Do(e.done)
	})
	return context.WithValue(ctx, entryKey{}, e), nil
}

// leave gives the place of a handshake back; ctx is the connection's.
func (g *gate) leave(ctx context.Context) {
	if e, ok := ctx.Value(entryKey{}).(*entry); ok {
		e.once.Do(e.done)
	}
}

// sourceOf is by what addresses are counted: a single IPv4 address, but a whole
// /64 of IPv6, which one host has to itself.
func sourceOf(a net.Addr) netip.Addr {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip, ok := netip.AddrFromSlice(u.IP)
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
