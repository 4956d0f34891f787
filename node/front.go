package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// front serves the callers of a cell of which several versions can be called.
// A connection says nothing about versions, a call does by its fingerprint: so
// each call is forwarded, and a version that sleeps is woken by one. Cells of one
// version have no front: their callers reach them directly. Another kind of front
// is what a device calls, which names no cell: it leads to those that it may reach.
type front struct {
	node      *Node
	server    *rpc.Server // nil for a device, whose link it has already
	forwarder *forward.Forwarder
	routes    atomic.Pointer[map[uint64]*frontTarget]
	targets   map[*version]*frontTarget // under cell.changing, or device.routing
}

// frontTarget is one version as the front reaches it.
type frontTarget struct {
	cell    *cell
	version *version
	process atomic.Pointer[instance] // that calls go to; nil: none
	waking  atomic.Bool
	refused atomic.Pointer[frontRefusal]
	descs   []*rpc.ServiceDesc

	// What follows belongs to the engine's thread.
	target *forward.Target // that process; another process has another
	routed []uint64
}

// serves reports whether there is a process that takes calls.
func (t *frontTarget) serves() bool {
	i := t.process.Load()
	return i != nil && !i.draining.Load()
}

// frontRefusal is why a version could not be woken.
type frontRefusal struct {
	err   error
	until time.Time // then it is tried again
}

// refusalTime is how long a version that could not be woken is not tried again.
const refusalTime = 100 * time.Millisecond

// frontOf returns the cell's front, which is made when it is needed first.
func (c *cell) frontOf() (*front, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.front != nil {
		return c.front, nil
	}
	f, err := c.node.newFront()
	if err != nil {
		return nil, err
	}
	if f.server, err = rpc.NewServer(&rpc.ServerOptions{Name: c.name, Relay: f, Logger: c.node.log}); err != nil {
		return nil, err
	}
	c.front = f
	return f, nil
}

func (n *Node) newFront() (*front, error) {
	f := &front{node: n, targets: map[*version]*frontTarget{}}
	var err error
	f.forwarder, err = forward.New(n.engine, nil)
	return f, err
}

// place is a version of a cell.
type place struct {
	cell    *cell
	version *version
}

// route has the front lead to the given versions, oldest first. A fingerprint
// that several serve leads to the last.
func (f *front) route(places []place) error {
	wanted := map[uint64]*frontTarget{}
	current := map[*version]*frontTarget{}
	for _, p := range places {
		v := p.version
		t := f.targets[v]
		if t == nil {
			t = &frontTarget{cell: p.cell, version: v}
			t.target = f.newTarget(t)
		}
		current[v] = t
		for fingerprint := range v.fingerprints() {
			wanted[fingerprint] = t
		}
	}
	var routeErr error
	err := f.node.engine.Do(context.Background(), func() { routeErr = f.exchange(current, wanted) })
	if err == nil {
		err = routeErr
	}
	f.routes.Store(&wanted)
	old := f.targets
	f.targets = current
	for v, t := range old {
		if current[v] == nil {
			f.drop(t)
		}
	}
	for _, p := range places {
		f.announce(current[p.version])
	}
	return err
}

func (f *front) newTarget(t *frontTarget) *forward.Target {
	return f.forwarder.NewTarget(t.cell.name + " " + t.version.name)
}

// exchange gives targets their fingerprints. It runs on the engine's thread, so
// that no call comes in between.
func (f *front) exchange(current map[*version]*frontTarget, wanted map[uint64]*frontTarget) error {
	for _, t := range f.targets {
		if err := t.target.Unroute(t.routed...); err != nil {
			return err
		}
		t.routed = nil
	}
	for fingerprint, t := range wanted {
		t.routed = append(t.routed, fingerprint)
	}
	for _, t := range current {
		if err := t.target.Route(t.routed...); err != nil {
			return err
		}
	}
	return nil
}

// announce has the front speak of a version's services.
func (f *front) announce(t *frontTarget) {
	if f.server == nil {
		return
	}
	t.version.mu.Lock()
	descs := t.version.descs
	t.version.mu.Unlock()
	for _, d := range t.descs {
		f.server.Withdraw(d)
	}
	t.descs = descs
	for _, d := range descs {
		if err := f.server.Announce(d); err != nil {
			t.cell.say("%s can't be announced: %v", d.Name, err)
		}
	}
}

// drop forgets a version when its calls have ended.
func (f *front) drop(t *frontTarget) {
	for _, d := range t.descs {
		f.server.Withdraw(d)
	}
	f.node.work.Go(func() {
		// What is under way ends with the process, which drains.
		for len(t.version.running()) > 0 && f.node.ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		var last *forward.Target
		if f.node.engine.Do(context.Background(), func() { last = t.target }) == nil {
			_ = last.Close()
		}
	})
}

// touch notes which versions have calls under way, so that they are not taken
// for idle.
func (f *front) touch(now time.Time) {
	routes := f.routes.Load()
	if routes == nil {
		return
	}
	_ = f.node.engine.Do(context.Background(), func() {
		for _, t := range *routes {
			if n, err := t.target.Live(); err == nil && n > 0 {
				t.version.used.Store(now.UnixNano())
			}
		}
	})
}

func (f *front) close() { _ = f.server.Close() }

// placesOf are versions of one cell.
func placesOf(c *cell, versions []*version) []place {
	all := make([]place, len(versions))
	for i, v := range versions {
		all[i] = place{c, v}
	}
	return all
}

// Attach implements rpc.Relay.
func (f *front) Attach(p *engine.Port) rpc.RelayLink {
	next := f.forwarder.Attach(p)
	if next == nil {
		return nil
	}
	return &frontLink{front: f, next: next}
}

// frontLink is one caller of the front. It wakes versions, and leaves the rest
// to the forwarder.
type frontLink struct {
	front *front
	next  rpc.RelayLink
}

// Offer implements rpc.RelayLink: a call of a version that sleeps waits where
// it is until that is awake.
func (l *frontLink) Offer(v *wire.Vesicle) (taken bool, err error) {
	if routes := l.front.routes.Load(); routes != nil {
		if t := (*routes)[v.Header.Fingerprint]; t != nil {
			t.version.used.Store(time.Now().UnixNano())
			if begins(v) && !t.serves() {
				if err := l.front.wake(t); err != nil {
					return true, err
				}
			}
		}
	}
	return l.next.Offer(v)
}

// begins reports whether a vesicle begins a call: it is the first piece of a
// request, or what has no answer.
func begins(v *wire.Vesicle) bool {
	switch v.Header.Kind {
	case wire.KindRequest:
		if v.Header.Flags&wire.FlagFragment == 0 || len(v.Payload) < wire.FragmentSize {
			return true
		}
		piece, err := wire.GetFragment((*[wire.FragmentSize]byte)(v.Payload), len(v.Payload)-wire.FragmentSize)
		return err != nil || piece.Offset == 0
	case wire.KindEvent:
		return true
	}
	return false
}

// UnderWay implements rpc.RelayLink.
func (l *frontLink) UnderWay(h *wire.Header) bool { return l.next.UnderWay(h) }

// Detach implements rpc.RelayLink.
func (l *frontLink) Detach() { l.next.Detach() }

// wake has a version attached, and says link.ErrFull until it is.
func (f *front) wake(t *frontTarget) error {
	if r := t.refused.Load(); r != nil && time.Now().Before(r.until) {
		return r.err
	}
	if t.waking.CompareAndSwap(false, true) {
		f.node.work.Go(func() {
			defer t.waking.Store(false)
			if err := f.attach(t); err != nil {
				t.refused.Store(&frontRefusal{rpc.Errorf(statusFor(err), "%v", err), time.Now().Add(refusalTime)})
				return
			}
			t.refused.Store(nil)
		})
	}
	return link.ErrFull
}

// dialTries is how many processes in a row may end just when they are dialed.
const dialTries = 5

// dial starts a version if need be, and connects the node to it.
func (c *cell) dial(ctx context.Context, v *version) (i *instance, l *uds.Conn, err error) {
	for range dialTries {
		if i, err = c.ensure(ctx, v, "a caller", "a call of its fingerprint came"); err != nil {
			return nil, nil, err
		}
		if l, err = i.dial(ctx, c.name); err == nil {
			return i, l, nil
		}
		if !errors.Is(err, uds.ErrNoListener) && !errors.Is(err, link.ErrPeerGone) || !i.vanishes(ctx) {
			return nil, nil, err
		}
	}
	return nil, nil, err
}

// attach starts a version if need be, and connects the front to it. What the
// process before has begun it finishes.
func (f *front) attach(t *frontTarget) error {
	c := t.cell
	ctx, cancel := context.WithTimeout(c.node.ctx, time.Duration(t.version.config.ReadyTimeout))
	defer cancel()
	i, l, err := c.dial(ctx, t.version)
	if err != nil {
		return err
	}
	next := f.newTarget(t)
	gone, err := next.Attach(l)
	if err != nil {
		_ = l.Close()
		return err
	}
	i.links.Add(1)
	if err := f.succeed(t, next); err != nil {
		_ = next.Close()
		i.links.Add(-1)
		return err
	}
	t.process.Store(i)
	c.node.work.Go(func() {
		defer i.links.Add(-1)
		select {
		case <-gone:
		case <-i.leaving:
			_ = next.Retire(c.node.ctx)
		case <-c.node.ctx.Done():
		}
		t.process.CompareAndSwap(i, nil)
	})
	return nil
}

// succeed has a target take over from the one before.
func (f *front) succeed(t *frontTarget, next *forward.Target) error {
	var err error
	doErr := f.node.engine.Do(context.Background(), func() {
		if err = t.target.Unroute(t.routed...); err != nil {
			return
		}
		if err = next.Route(t.routed...); err == nil {
			t.target = next
		}
	})
	return errors.Join(doErr, err)
}
