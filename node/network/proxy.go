package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// proxy is a name that other nodes serve, as callers of this host reach it: a
// socket in RemoteDir. While it has callers it has a server, whose calls go by
// their fingerprints to the instances on other nodes.
type proxy struct {
	net  *Network
	name string
	ctx  context.Context
	stop context.CancelFunc

	changing sync.Mutex // held by whoever changes what follows
	gate     *uds.Gate  // nil: there is no socket, or not yet
	unopened string     // why not
	server   *rpc.Server
	forward  *forward.Forwarder
	targets  map[identity.ID]*target
	descs    map[[32]byte]*rpc.ServiceDesc // announced
	idle     time.Time                     // since when it has no callers
	routes   atomic.Pointer[map[uint64]*target]
}

// mostNames bounds the names of others for which there are sockets.
const mostNames = 512

// forwardOptions keep the table of a name's calls small: there may be many names.
var forwardOptions = forward.Options{MaxCalls: 2048}

// open makes the socket of a name.
func (n *Network) open(name string) *proxy {
	p := &proxy{net: n, name: name, targets: map[identity.ID]*target{}, descs: map[[32]byte]*rpc.ServiceDesc{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.listen()
	return p
}

// listen makes the socket, if it can be made now; tidy tries it again. p.changing
// is held, or nobody else has p yet.
func (p *proxy) listen() {
	if p.gate != nil || p.ctx.Err() != nil || uds.ValidateName(p.name) != nil {
		return // or others may call it so, and here it has no socket
	}
	gate, err := uds.Open(p.name, &uds.Options{Dir: filepath.Join(p.net.o.Dir, RemoteDir)}, p.take)
	switch {
	case err == nil && p.unopened != "":
		p.net.o.Logger.Info("network: a name that others serve has its socket now", "name", p.name)
	case err != nil && err.Error() != p.unopened:
		p.net.o.Logger.Error("network: a name that others serve gets no socket; it is tried again every second", "name", p.name, "err", err)
	}
	if p.gate, p.unopened = gate, ""; err != nil {
		p.gate, p.unopened = nil, err.Error()
	}
}

// Take serves a caller of this host by other nodes, if any serves the name. It
// owns conn if so.
func (n *Network) Take(ctx context.Context, name string, conn *net.UnixConn, peer link.Peer) bool {
	n.mu.Lock()
	p := n.proxies[name]
	n.mu.Unlock()
	if p == nil {
		return false
	}
	p.take(ctx, conn, peer)
	return true
}

// Serves reports whether another node is known to serve a name.
func (n *Network) Serves(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proxies[name] != nil
}

// take serves one caller. It owns conn.
func (p *proxy) take(ctx context.Context, conn *net.UnixConn, peer link.Peer) {
	ctx, cancel := context.WithTimeout(ctx, takeTime)
	defer cancel()
	server, err := p.ready(ctx)
	if err != nil {
		refuse(conn, peer, p.name, err)
		return
	}
	l, err := uds.Server(ctx, conn, &uds.Options{Policy: uds.AnyUser}) // the gate has looked
	if err != nil {
		return
	}
	if err := server.Serve(p.net.o.Engine, l); err != nil {
		_ = l.Close()
	}
}

// takeTime bounds how long a caller waits until another node is connected.
const takeTime = 10 * time.Second

// refuse tells a caller why it comes to nothing.
func refuse(conn *net.UnixConn, peer link.Peer, name string, why error) {
	b := uds.NewBroker(uds.BrokerOptions{Reach: func(context.Context, link.Peer, string) error {
		return fmt.Errorf("%w: %w", wire.StatusUnavailable, why)
	}})
	defer b.Close()
	_ = b.Forward(context.Background(), conn, peer, name)
}

// ready returns the server, made if need be, with at least one instance
// connected.
func (p *proxy) ready(ctx context.Context) (*rpc.Server, error) {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %s", ErrNobody, p.name)
	}
	if p.server == nil {
		if err := p.begin(); err != nil {
			return nil, err
		}
	}
	p.idle = time.Time{}
	p.update()
	if p.served() {
		return p.server, nil
	}
	candidates := p.candidates()
	errs := []error{fmt.Errorf("%w: %s", ErrNobody, p.name)}
	for _, t := range candidates {
		short, cancel := ctx, context.CancelFunc(func() {})
		if len(candidates) > 1 {
			short, cancel = context.WithTimeout(ctx, attemptTime)
		}
		err := p.attach(short, t)
		cancel()
		if err == nil {
			p.update()
			return p.server, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (p *proxy) served() bool {
	for _, t := range p.targets {
		if t.attached() {
			return true
		}
	}
	return false
}

// begin makes the server.
func (p *proxy) begin() (err error) {
	o := forwardOptions
	o.Logger = p.net.o.Logger
	if p.forward, err = forward.New(p.net.o.Engine, &o); err != nil {
		return err
	}
	p.server, err = rpc.NewServer(&rpc.ServerOptions{Name: p.name, Relay: p, Logger: p.net.o.Logger})
	return err
}

// retired is a server with its instances to which nobody new is led.
type retired struct {
	server  *rpc.Server
	forward *forward.Forwarder
	targets map[identity.ID]*target
}

// retire takes the server away: the proxy is as if nobody had called yet. Who
// calls the old one anew is told to dial again. p.changing is held.
func (p *proxy) retire() *retired {
	if p.server == nil {
		return nil
	}
	r := &retired{p.server, p.forward, p.targets}
	begun, cancel := context.WithCancel(p.ctx)
	cancel()
	_ = r.server.Drain(begun) // whose calls are the forwarder's: see end
	for _, t := range r.targets {
		t.gone = true
	}
	p.server, p.forward = nil, nil
	p.targets, p.descs = map[identity.ID]*target{}, map[[32]byte]*rpc.ServiceDesc{}
	p.routes.Store(nil)
	return r
}

// end waits until the calls under way have ended, however long that takes, and
// callers have had a moment to go, or ctx ends; and gives everything back.
func (r *retired) end(ctx context.Context) {
	if r == nil {
		return
	}
	for pause := time.Millisecond; ctx.Err() == nil; pause = min(2*pause, lookEvery) {
		look, cancel := context.WithTimeout(ctx, pause)
		err := r.forward.Drain(look)
		cancel()
		if err == nil || !errors.Is(err, context.DeadlineExceeded) {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	short, cancel := context.WithTimeout(ctx, retireTime)
	defer cancel()
	r.server.Retire(short)
	_ = r.server.Close()
	for _, t := range r.targets {
		t.close()
	}
}

// close ends the proxy. Calls under way go on until the network is closed: that
// nobody serves the name any more is also so when its last instance is leaving.
func (p *proxy) close() {
	p.stop()
	p.changing.Lock()
	gate := p.gate
	p.changing.Unlock()
	if gate != nil {
		_ = gate.Close() // which waits for those who want p.changing
	}
	p.changing.Lock()
	r := p.retire()
	p.changing.Unlock()
	r.end(p.net.closing)
}

const (
	// idleTime is how long links to other nodes are kept for nobody.
	idleTime = time.Minute
	// retireTime is how long callers have to go elsewhere when no call of theirs
	// is under way.
	retireTime = 2 * time.Second
)

// tidy opens the socket if that failed before, looks for better ways than relays,
// lets go of links that nobody uses, and leads callers to a cell of this
// host that has appeared under the name.
func (p *proxy) tidy(now time.Time) {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.listen()
	if p.server == nil {
		return
	}
	p.lookForDirect(now)
	switch links := p.server.Stats().Links; {
	case links > 0 && p.near():
		old := p.retire() // callers dial anew, and find the near one first
		p.net.work.Go(func() { old.end(p.net.closing) })
	case links > 0:
		p.idle = time.Time{}
	case p.idle.IsZero():
		p.idle = now
	case now.Sub(p.idle) > idleTime:
		old := p.retire()
		p.net.work.Go(func() { old.end(p.net.closing) })
	}
}

// near reports whether somebody on this host listens under the name.
func (p *proxy) near() bool {
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	c, err := net.Dial("unix", filepath.Join(p.net.o.Dir, p.name+".sock"))
	if err != nil || ctx.Err() != nil {
		return false
	}
	_ = c.Close()
	return !p.net.o.Local.Fails(p.name)
}

// Attach implements rpc.Relay.
func (p *proxy) Attach(port *engine.Port) rpc.RelayLink {
	next := p.forward.Attach(port)
	if next == nil {
		return nil
	}
	return &caller{p, next}
}

// caller is one caller of a proxy.
type caller struct {
	proxy *proxy
	next  rpc.RelayLink
}

// Offer implements rpc.RelayLink: a call waits where it is until an instance of
// what it calls is connected.
func (c *caller) Offer(v *wire.Vesicle) (taken bool, err error) {
	if routes := c.proxy.routes.Load(); routes != nil && v.Header.Kind == wire.KindRequest {
		if t := (*routes)[v.Header.Fingerprint]; t != nil && !t.attached() {
			if err := c.proxy.wake(t); err != nil {
				return true, err
			}
		}
	}
	return c.next.Offer(v)
}

// UnderWay implements rpc.RelayLink.
func (c *caller) UnderWay(h *wire.Header) bool { return c.next.UnderWay(h) }

// Detach implements rpc.RelayLink.
func (c *caller) Detach() { c.next.Detach() }

// tidy looks after all proxies.
func (n *Network) tidy() {
	now := time.Now()
	for _, p := range n.all() {
		n.work.Go(func() { p.tidy(now) })
	}
}

func (n *Network) all() []*proxy {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]*proxy, 0, len(n.proxies))
	for _, p := range n.proxies {
		all = append(all, p)
	}
	return all
}

// provider is an instance of a name on another node.
type provider struct {
	peer    discovery.Peer
	service discovery.Service
}
