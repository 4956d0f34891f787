package node

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// front serves the callers of a cell of which several versions can be called.
// A connection says nothing about versions, a call does by its fingerprint: so
// each call is forwarded, and a version that sleeps is woken by one. Cells of one
// version have no front: their callers reach them directly, but for those of other
// nodes. Another kind of front is what a device calls, which names no cell: it leads
// to those that it may reach.
type front struct {
	node   *Node
	server *rpc.Server // nil for a device, whose link it has already
	lanes  atomic.Pointer[[]*lane]
	turn   atomic.Uint32                   // whose lane is next
	descs  map[*version][]*rpc.ServiceDesc // announced; under cell.changing, or device.routing
	routed atomic.Bool
}

// mostLanes bounds over how many processes of a version a front spreads its
// callers: each lane has a table of calls, of some megabyte.
const mostLanes = 16

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
	first, err := n.newLane()
	if err != nil {
		return nil, err
	}
	f := &front{node: n, descs: map[*version][]*rpc.ServiceDesc{}}
	f.lanes.Store(&[]*lane{first})
	return f, nil
}

// place is a version of a cell.
type place struct {
	cell    *cell
	version *version
}

// placesOf are versions of one cell.
func placesOf(c *cell, versions []*version) []place {
	all := make([]place, len(versions))
	for i, v := range versions {
		all[i] = place{c, v}
	}
	return all
}

// route has the front lead to the given versions, oldest first. A fingerprint
// that several serve leads to the last.
func (f *front) route(places []place) error {
	lanes := *f.lanes.Load()
	for _, p := range places {
		// A device is one caller. Lanes stay: callers are on them.
		for f.server != nil && len(lanes) < min(p.version.config.Instances, mostLanes) {
			l, err := f.node.newLane()
			if err != nil {
				return err
			}
			lanes = append(lanes[:len(lanes):len(lanes)], l)
		}
	}
	var errs []error
	for _, l := range lanes {
		errs = append(errs, l.route(places))
	}
	f.lanes.Store(&lanes) // who comes from now on finds them led somewhere
	f.announce(places)
	f.routed.Store(true)
	return errors.Join(errs...)
}

// announce has the front speak of the services of its versions alone.
func (f *front) announce(places []place) {
	if f.server == nil {
		return
	}
	before := f.descs
	f.descs = map[*version][]*rpc.ServiceDesc{}
	for _, p := range places {
		p.version.mu.Lock()
		f.descs[p.version] = p.version.descs
		p.version.mu.Unlock()
	}
	for v, descs := range before {
		if _, stays := f.descs[v]; !stays {
			f.withdraw(descs)
		}
	}
	for _, p := range places {
		f.withdraw(before[p.version])
		for _, d := range f.descs[p.version] {
			if err := f.server.Announce(d); err != nil {
				p.cell.say("%s can't be announced: %v", d.Name, err)
			}
		}
	}
}

func (f *front) withdraw(descs []*rpc.ServiceDesc) {
	for _, d := range descs {
		f.server.Withdraw(d)
	}
}

// leads is a lane that leads to a process of a version.
type leads struct {
	lane    *lane
	target  *frontTarget
	process *instance
}

// leading returns all lanes that lead to a process of a version, and how many lead
// to each.
func (f *front) leading(v *version) (all []leads, led map[*instance]int) {
	led = map[*instance]int{}
	for _, l := range *f.lanes.Load() {
		if t := l.at(v); t != nil {
			if a := t.process.Load(); a != nil {
				all = append(all, leads{l, t, a.instance})
				led[a.instance]++
			}
		}
	}
	return all, led
}

// leastLed returns the process of a version to which the fewest lanes lead beside
// t's, and of several that one whose turn it is.
func (f *front) leastLed(t *frontTarget, next *instance) *instance {
	_, led := f.leading(t.version)
	if a := t.process.Load(); a != nil {
		led[a.instance]--
	}
	for _, i := range t.version.running() {
		if led[i] < led[next] && !i.draining.Load() && !i.lost.Load() {
			next = i
		}
	}
	return next
}

// spread has one of the lanes that share a process lead to one that came later.
func (f *front) spread(came *instance) {
	all, led := f.leading(came.version)
	for _, x := range all {
		if led[came] == 0 && led[x.process] > 1 && x.target.waking.CompareAndSwap(false, true) {
			f.node.work.Go(func() {
				defer x.target.waking.Store(false)
				_ = f.attach(x.lane, x.target) // or it stays where it is
			})
			return
		}
	}
}

// touch notes which versions have calls under way, so that they are not taken
// for idle.
func (f *front) touch(now time.Time) {
	for _, l := range *f.lanes.Load() {
		l.touch(now)
	}
}

func (f *front) close() { _ = f.server.Close() }

// Attach implements rpc.Relay: callers take lanes in turn.
func (f *front) Attach(p *engine.Port) rpc.RelayLink {
	lanes := *f.lanes.Load()
	l := lanes[int(f.turn.Add(1))%len(lanes)]
	next := l.forwarder.Attach(p)
	if next == nil {
		return nil
	}
	return &frontLink{front: f, lane: l, next: next}
}

// frontLink is one caller of the front. It wakes versions, and leaves the rest
// to the forwarder.
type frontLink struct {
	front *front
	lane  *lane
	next  rpc.RelayLink
}

// Offer implements rpc.RelayLink: a call of a version that sleeps waits where
// it is until that is awake.
func (l *frontLink) Offer(v *wire.Vesicle) (taken bool, err error) {
	if routes := l.lane.routes.Load(); routes != nil {
		if t := (*routes)[v.Header.Fingerprint]; t != nil {
			t.version.used.Store(time.Now().UnixNano())
			if begins(v) && !t.serves() {
				if err := l.front.wake(l.lane, t); err != nil {
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
