package network

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/quic"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/wire"
)

// target is an instance of a name on another node, as a proxy reaches it.
type target struct {
	proxy   *proxy
	id      identity.ID
	forward *forward.Target
	way     atomic.Pointer[way] // nil: it is not connected
	waking  atomic.Bool
	refused atomic.Pointer[refusal]

	// What follows is under proxy.changing.
	provider provider
	gone     bool // the node is no longer there, or no longer serves it
	learned  []*rpc.ServiceDesc
	revision [2]uint64 // of the beacon when that was learned
	routed   []uint64
	failed   time.Time // until then others come first
	looks    looks     // for a direct way to it
}

// way is by what a target is connected.
type way struct {
	relayed bool // a relay stands between
}

func (t *target) attached() bool { return t.way.Load() != nil }

// refusal is why an instance could not be connected.
type refusal struct {
	err   error
	until time.Time // then it is tried again
}

const (
	// refusalTime is how long an instance that could not be connected is not
	// tried again.
	refusalTime = time.Second
	// attemptTime bounds one attempt where there are other instances.
	attemptTime = 1500 * time.Millisecond
)

// update takes up who serves the name now. p.changing is held.
func (p *proxy) update() {
	if p.server == nil {
		return
	}
	for _, t := range p.targets {
		t.gone = true
	}
	for _, x := range p.net.providers(p.name) {
		t := p.targets[x.peer.ID]
		if t == nil {
			t = &target{proxy: p, id: x.peer.ID, forward: p.forward.NewTarget(fmt.Sprintf("%s on node %s", p.name, x.peer.ID.Short()))}
			p.targets[x.peer.ID] = t
		}
		t.provider, t.gone = x, false
	}
	wanted := map[uint64]*target{}
	for _, t := range slices.Backward(p.candidates()) { // the best one comes last, and stays
		for _, f := range t.fingerprints() {
			wanted[f] = t
		}
	}
	p.keepGround(wanted)
	var routeErr error
	err := p.net.o.Engine.Do(context.Background(), func() { routeErr = p.exchange(wanted) })
	if err = errors.Join(err, routeErr); err != nil {
		p.net.o.Logger.Error("network: calls can't be routed", "name", p.name, "err", err)
	}
	p.routes.Store(&wanted)
	for id, t := range p.targets {
		if t.gone && !t.attached() {
			delete(p.targets, id)
			p.net.work.Go(t.close)
		}
	}
}

// keepGround has fingerprints stay with an instance that is connected and as
// good in all but load.
func (p *proxy) keepGround(wanted map[uint64]*target) {
	now := p.routes.Load()
	if now == nil {
		return
	}
	for f, best := range wanted {
		t := (*now)[f]
		if t == nil || t == best || t.gone || !t.attached() || t.provider.service.Draining || !slices.Contains(t.fingerprints(), f) {
			continue
		}
		if _, old := t.provider.service.Provides(f); old {
			continue // another has it itself
		}
		wanted[f] = t
	}
}

// candidates are the instances, the best first: those that take new work, that
// did not fail just now, with less load, and among equals another one for each
// node that calls.
func (p *proxy) candidates() []*target {
	now := time.Now()
	worth := func(t *target) int {
		n := int(t.provider.service.Load) / 32
		if t.provider.service.Draining {
			n += 1 << 10
		}
		if now.Before(t.failed) {
			n += 1 << 11
		}
		return n
	}
	all := slices.DeleteFunc(slices.Collect(maps.Values(p.targets)), func(t *target) bool { return t.gone })
	self := p.net.self.Load().credentials.ID()
	slices.SortFunc(all, func(a, b *target) int {
		return cmp.Or(cmp.Compare(worth(a), worth(b)), cmp.Compare(distance(self, a.id), distance(self, b.id)))
	})
	return all
}

// distance is a number that is another one for each pair of nodes.
func distance(a, b identity.ID) uint64 {
	return (binary.LittleEndian.Uint64(a[:]) ^ binary.LittleEndian.Uint64(b[8:])) * 0x9e3779b97f4a7c15
}

// fingerprints are what an instance accepts, as far as is known.
func (t *target) fingerprints() []uint64 {
	s := t.provider.service
	all := slices.Concat(s.Fingerprints, s.Ancestors)
	if len(all) > 0 {
		return all
	}
	for _, d := range t.learned { // it did not run yet when its node told of it
		for i := range d.Methods {
			all = append(all, d.Methods[i].Fingerprint)
			for _, a := range d.Methods[i].Ancestors {
				all = append(all, a.Fingerprint)
			}
		}
	}
	return all
}

// exchange gives targets their fingerprints. It runs on the engine's thread, so
// that no call comes in between.
func (p *proxy) exchange(wanted map[uint64]*target) error {
	var errs []error
	for _, t := range p.targets {
		errs = append(errs, t.forward.Unroute(t.routed...))
		t.routed = nil
	}
	for f, t := range wanted {
		t.routed = append(t.routed, f)
	}
	for _, t := range p.targets {
		errs = append(errs, t.forward.Route(t.routed...))
	}
	return errors.Join(errs...)
}

// wake has an instance connected, and says link.ErrFull until it is. It runs on
// the engine's thread.
func (p *proxy) wake(t *target) error {
	if r := t.refused.Load(); r != nil && time.Now().Before(r.until) {
		return r.err
	}
	if t.waking.CompareAndSwap(false, true) {
		p.net.work.Go(func() {
			defer t.waking.Store(false)
			p.changing.Lock()
			defer p.changing.Unlock()
			if t.attached() || t.gone || p.server == nil {
				return
			}
			patience := takeTime
			if len(p.targets) > 1 {
				patience = attemptTime
			}
			ctx, cancel := context.WithTimeout(p.ctx, patience)
			err := p.attach(ctx, t)
			cancel()
			p.update() // after a failure, calls go elsewhere if there is anywhere
			if err != nil {
				t.refused.Store(&refusal{rpc.Errorf(wire.StatusUnavailable, "%s on node %s can't be reached; not executed: %v", p.name, t.id.Short(), err), time.Now().Add(refusalTime)})
			}
		})
	}
	return link.ErrFull
}

// attach connects an instance. p.changing is held.
func (p *proxy) attach(ctx context.Context, t *target) (err error) {
	defer func() {
		if err != nil {
			t.failed = time.Now().Add(5 * refusalTime)
		}
	}()
	m := p.net.self.Load()
	where := discovery.Target{Service: p.name, Node: t.id}
	if at := (t.provider.peer.Beacon); t.learned == nil || t.revision != [2]uint64{at.Incarnation, uint64(at.Revision)} {
		if err := p.learn(ctx, m, t, where); err != nil {
			return err
		}
		t.revision = [2]uint64{at.Incarnation, uint64(at.Revision)}
	}
	l, _, err := m.resolver.Dial(ctx, where)
	if err != nil {
		return err
	}
	_ = t.forward.Detach()
	gone, err := t.forward.Attach(l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	t.failed = time.Time{}
	t.refused.Store(nil)
	p.connected(t, l, gone)
	return nil
}

// connected notes that an instance is connected by a link, until that is gone.
func (p *proxy) connected(t *target, l link.Link, gone <-chan error) {
	q, overQUIC := l.(*quic.Link)
	w := &way{relayed: overQUIC && q.Relayed()}
	t.way.Store(w)
	p.net.work.Go(func() {
		select {
		case <-gone:
		case <-p.ctx.Done():
		}
		t.way.CompareAndSwap(w, nil) // unless it has another link by now
	})
}

// learn asks an instance what it serves, and speaks of that from now on.
func (p *proxy) learn(ctx context.Context, m *member, t *target, where discovery.Target) error {
	l, _, err := m.resolver.Dial(ctx, where)
	if err != nil {
		return err
	}
	conn, err := rpc.NewConn(l, &rpc.ConnOptions{Wait: rpc.WaitPark, Name: "node"})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer conn.Close()
	_, descs, err := Describe(ctx, conn)
	if err != nil {
		return err
	}
	t.learned = descs
	for _, d := range descs {
		if p.descs[d.Digest] == nil {
			p.descs[d.Digest] = d
			if err := p.server.Announce(d); err != nil {
				p.net.o.Logger.Warn("network: a service can't be announced", "name", p.name, "service", d.Name, "err", err)
			}
		}
	}
	return nil
}

// drop disconnects an instance whose node has died: calls under way end.
func (t *target) drop() {
	t.way.Store(nil)
	_ = t.forward.Detach()
}

// close gives everything back.
func (t *target) close() { _ = t.forward.Close() }

// Describe asks whoever is at the other end of a connection what it serves.
// descs has no service twice that is served in several forms of one digest.
func Describe(ctx context.Context, conn *rpc.Conn) (services []rpc.ServiceInfo, descs []*rpc.ServiceDesc, err error) {
	if services, err = conn.List(ctx); err != nil {
		return nil, nil, err
	}
	served := map[string]bool{}
	for _, s := range services {
		served[s.Digest] = true
	}
	known := map[string]bool{}
	for _, s := range services {
		if known[s.Digest] {
			continue
		}
		text, err := conn.Describe(ctx, s.Name)
		if err != nil {
			return nil, nil, err
		}
		parsed, err := rpc.ParseServices(text)
		if err != nil {
			return nil, nil, fmt.Errorf("the description of %s: %w", s.Name, err)
		}
		for _, d := range parsed {
			digest := fmt.Sprintf("%x", d.Digest)
			if served[digest] && !known[digest] {
				descs = append(descs, d)
			}
			known[digest] = true
		}
	}
	return services, descs, nil
}
