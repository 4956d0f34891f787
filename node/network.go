package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/network"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// others is the node's side towards other nodes: what it tells of its cells, and
// how their callers are led here. It implements network.Local.
type others struct {
	node *Node

	mu    sync.Mutex
	loads map[string]load
}

// load is how busy a cell was when that was looked at.
type load struct {
	at    time.Time
	cpu   int64 // ns
	level uint8 // 255: its processes use a core each
}

// loadPace is how often that is looked at.
const loadPace = time.Second

// meet prepares the node to be one among others.
func (n *Node) meet() *network.Network {
	at, _ := netip.ParseAddrPort(n.config.Raft.Reached()) // a host's name is told nobody
	return network.New(network.Options{
		Raft:   at,
		Config: n.config.Network, Dir: n.dir, Engine: n.engine, Logger: n.log,
		Local: &others{node: n, loads: map[string]load{}},
		Refused: func(source, who, what string, why error) {
			n.audit.refused("node "+source, "node "+who, what, why.Error())
		},
	})
}

// runNetwork has the node be one among others until end is called. What keeps it
// from that is told to failed, before end returns, where the configuration
// insists on it; elsewhere the node stays alone.
func (n *Node) runNetwork(ctx context.Context, failed func(error)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		err := n.network.Run(ctx)
		switch {
		case err == nil:
		case n.config.Network.Mode == "on":
			failed(err)
		default:
			n.log.Error("the node stays alone", "err", err)
		}
	}()
	return func() { cancel(); <-over }
}

// removeRemote removes what a node that was killed has left.
func (n *Node) removeRemote() error { return network.Clean(filepath.Join(n.dir, network.RemoteDir)) }

// shares reports whether callers of other nodes may call a cell.
func (c *cell) shares() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.config.Serves && c.config.Remote && c.node.config.Network.Share != "none" && !c.stopped
}

// Services implements network.Local.
func (o *others) Services() (all []discovery.Service) {
	for _, c := range o.node.list() {
		if !c.shares() || len(all) >= discovery.MaxServices {
			continue
		}
		state, _ := c.current().state()
		if state == stateFailed || state == stateWaiting {
			continue
		}
		s := discovery.Service{Name: c.name, Draining: state == stateDraining || o.node.halt.Err() != nil, Load: o.load(c)}
		s.Fingerprints, s.Ancestors = c.forms()
		all = append(all, s)
	}
	return all
}

// forms returns the fingerprints that the cell's versions have, and those of
// earlier forms that they accept as well, as many as a beacon tells.
func (c *cell) forms() (own, earlier []uint64) {
	for _, v := range c.all() {
		v.mu.Lock()
		for _, d := range v.descs {
			for i := range d.Methods {
				own = append(own, d.Methods[i].Fingerprint)
				for _, a := range d.Methods[i].Ancestors {
					earlier = append(earlier, a.Fingerprint)
				}
			}
		}
		v.mu.Unlock()
	}
	tidy := func(all []uint64) []uint64 {
		slices.Sort(all)
		return slices.Compact(all)
	}
	own = tidy(own)
	own = own[:min(len(own), discovery.MaxFingerprints)]
	earlier = slices.DeleteFunc(tidy(earlier), func(f uint64) bool { return slices.Contains(own, f) })
	return own, earlier[:min(len(earlier), discovery.MaxFingerprints-len(own))]
}

// load returns how busy a cell is.
func (o *others) load(c *cell) uint8 {
	o.mu.Lock()
	before := o.loads[c.name]
	o.mu.Unlock()
	now := time.Now()
	if now.Sub(before.at) < loadPace {
		return before.level
	}
	running := c.current().running()
	next := load{at: now}
	for _, i := range running {
		if u, err := i.process.Usage(); err == nil {
			next.cpu += int64(u.User + u.System)
		}
	}
	if used, could := next.cpu-before.cpu, now.Sub(before.at)*time.Duration(max(len(running), 1)); !before.at.IsZero() && used > 0 {
		next.level = uint8(min(255*used/int64(could), 255))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.loads[c.name] = next
	return next.level
}

// Fails implements network.Local.
func (o *others) Fails(name string) bool {
	c, err := o.node.find(name)
	if err != nil {
		return false
	}
	state, _ := c.current().state()
	return state == stateFailed || state == stateWaiting
}

// Lead implements network.Local.
func (o *others) Lead(ctx context.Context, name string, from identity.ID) (func(link.Link) error, error) {
	c, err := o.node.find(name)
	if err != nil {
		return nil, rpc.Errorf(wire.StatusNotFound, "no cell %q is served here", name)
	}
	if !c.shares() {
		return nil, rpc.Errorf(wire.StatusPermissionDenied, "%q is not for other nodes (cells.%s.remote, network.share)", name, name)
	}
	i, err := c.ensure(ctx, c.current(), "node "+from.Short(), "it was called from another node")
	for errors.Is(err, errReplaced) {
		i, err = c.ensure(ctx, c.current(), "node "+from.Short(), "it was called from another node")
	}
	if err != nil {
		return nil, rpc.Errorf(statusFor(err), "%w", err)
	}
	i.version.used.Store(time.Now().UnixNano())
	f, err := c.frontFor(ctx)
	if err != nil {
		return nil, err
	}
	return func(l link.Link) error { return f.server.Serve(o.node.engine, l) }, nil
}

// frontFor returns the cell's front, which leads to all its versions.
func (c *cell) frontFor(ctx context.Context) (*front, error) {
	if f := c.known(); f != nil && f.routed.Load() {
		return f, nil
	}
	for !c.changing.TryLock() { // somebody deploys
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	defer c.changing.Unlock()
	f, err := c.frontOf()
	if err == nil && !f.routed.Load() {
		err = f.route(placesOf(c, c.all()))
	}
	return f, err
}

// sameNetwork reports whether nothing of the network has changed, which it can't
// while the node runs.
func sameNetwork(before, next config.Network) bool {
	return fmt.Sprint(before) == fmt.Sprint(next)
}
