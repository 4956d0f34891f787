package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/uds"
)

// lane is what a front's callers share of it: of each version one process. A
// fingerprint leads to one place, so that several processes of a version are
// several lanes, to which the callers are spread.
type lane struct {
	node      *Node
	forwarder *forward.Forwarder
	routes    atomic.Pointer[map[uint64]*frontTarget]
	targets   map[*version]*frontTarget // under cell.changing, or device.routing
}

// frontTarget is one version as a lane reaches it.
type frontTarget struct {
	cell    *cell
	version *version
	process atomic.Pointer[attached] // that calls go to; nil: none
	waking  atomic.Bool              // somebody attaches a process
	refused atomic.Pointer[frontRefusal]

	// What follows belongs to the engine's thread.
	target *forward.Target // that process; another process has another
	routed []uint64
}

// attached is a process to which calls go.
type attached struct {
	*instance
	moved chan struct{} // closed when another process takes over
}

// serves reports whether there is a process that takes calls.
func (t *frontTarget) serves() bool {
	a := t.process.Load()
	return a != nil && !a.draining.Load()
}

// frontRefusal is why a version could not be woken.
type frontRefusal struct {
	err   error
	until time.Time // then it is tried again
}

// refusalTime is how long a version that could not be woken is not tried again.
const refusalTime = 100 * time.Millisecond

func (n *Node) newLane() (*lane, error) {
	f, err := forward.New(n.engine, nil)
	return &lane{node: n, forwarder: f, targets: map[*version]*frontTarget{}}, err
}

// route has the lane lead to the given versions, oldest first. A fingerprint
// that several serve leads to the last.
func (l *lane) route(places []place) error {
	wanted := map[uint64]*frontTarget{}
	current := map[*version]*frontTarget{}
	for _, p := range places {
		v := p.version
		t := l.targets[v]
		if t == nil {
			t = &frontTarget{cell: p.cell, version: v}
			t.target = l.newTarget(t)
		}
		current[v] = t
		for fingerprint := range v.fingerprints() {
			wanted[fingerprint] = t
		}
	}
	var routeErr error
	err := l.node.engine.Do(context.Background(), func() { routeErr = l.exchange(current, wanted) })
	if err == nil {
		err = routeErr
	}
	l.routes.Store(&wanted)
	old := l.targets
	l.targets = current
	for v, t := range old {
		if current[v] == nil {
			l.drop(t)
		}
	}
	return err
}

// at returns a version as the lane reaches it; nil where nothing leads there.
func (l *lane) at(v *version) *frontTarget {
	if routes := l.routes.Load(); routes != nil {
		for _, t := range *routes {
			if t.version == v {
				return t
			}
		}
	}
	return nil
}

func (l *lane) newTarget(t *frontTarget) *forward.Target {
	return l.forwarder.NewTarget(t.cell.name + " " + t.version.name)
}

// exchange gives targets their fingerprints. It runs on the engine's thread, so
// that no call comes in between.
func (l *lane) exchange(current map[*version]*frontTarget, wanted map[uint64]*frontTarget) error {
	for _, t := range l.targets {
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

// drop forgets a version when its calls have ended.
func (l *lane) drop(t *frontTarget) {
	l.node.work.Go(func() {
		// What is under way ends with the process, which drains.
		for len(t.version.running()) > 0 && l.node.ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		var last *forward.Target
		if l.node.engine.Do(context.Background(), func() { last = t.target }) == nil {
			_ = last.Close()
		}
	})
}

// touch notes which versions have calls under way, so that they are not taken
// for idle.
func (l *lane) touch(now time.Time) {
	routes := l.routes.Load()
	if routes == nil {
		return
	}
	_ = l.node.engine.Do(context.Background(), func() {
		for _, t := range *routes {
			if n, err := t.target.Live(); err == nil && n > 0 {
				t.version.used.Store(now.UnixNano())
			}
		}
	})
}

// wake has a version attached, and says link.ErrFull until it is.
func (f *front) wake(l *lane, t *frontTarget) error {
	if r := t.refused.Load(); r != nil && time.Now().Before(r.until) {
		return r.err
	}
	if t.waking.CompareAndSwap(false, true) {
		f.node.work.Go(func() {
			defer t.waking.Store(false)
			if err := f.attach(l, t); err != nil {
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

// dial starts a version if need be, and connects the node to a process of it.
func (c *cell) dial(ctx context.Context, v *version, choose func(*instance) *instance) (i *instance, l *uds.Conn, err error) {
	for range dialTries {
		if i, err = c.ensure(ctx, v, "a caller", "a call of its fingerprint came"); err != nil {
			return nil, nil, err
		}
		i = choose(i)
		if l, err = i.dial(ctx, c.name); err == nil {
			return i, l, nil
		}
		if !errors.Is(err, uds.ErrNoListener) && !errors.Is(err, link.ErrPeerGone) || !i.vanishes(ctx) {
			return nil, nil, err
		}
	}
	return nil, nil, err
}

// attach starts a version if need be, and connects a lane to that process of it
// to which the fewest lanes lead. What the process before has begun it finishes.
func (f *front) attach(l *lane, t *frontTarget) error {
	c := t.cell
	ctx, cancel := context.WithTimeout(c.node.ctx, time.Duration(t.version.config.ReadyTimeout))
	defer cancel()
	i, conn, err := c.dial(ctx, t.version, func(next *instance) *instance { return f.leastLed(t, next) })
	if err != nil {
		return err
	}
	next := l.newTarget(t)
	gone, err := next.Attach(conn)
	if err != nil {
		_ = conn.Close()
		return err
	}
	i.links.Add(1)
	if err := l.succeed(t, next); err != nil {
		_ = next.Close()
		i.links.Add(-1)
		return err
	}
	a := &attached{i, make(chan struct{})}
	if before := t.process.Swap(a); before != nil {
		close(before.moved)
	}
	c.node.work.Go(func() {
		defer i.links.Add(-1)
		select {
		case <-gone:
		case <-i.leaving:
			_ = next.Retire(c.node.ctx)
		case <-a.moved:
			_ = next.Retire(c.node.ctx)
		case <-c.node.ctx.Done():
		}
		t.process.CompareAndSwap(a, nil)
	})
	return nil
}

// succeed has a target take over from the one before.
func (l *lane) succeed(t *frontTarget, next *forward.Target) error {
	var err error
	doErr := l.node.engine.Do(context.Background(), func() {
		if err = t.target.Unroute(t.routed...); err != nil {
			return
		}
		if err = next.Route(t.routed...); err == nil {
			t.target = next
		}
	})
	return errors.Join(doErr, err)
}
