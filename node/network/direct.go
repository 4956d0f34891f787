package network

import (
	"context"
	"errors"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/link"
)

// looks are those for a direct way to an instance that is reached by a relay.
type looks struct {
	looking bool
	next    time.Time
	pause   time.Duration // it doubles while they bring nothing
}

const (
	lookPace     = time.Second
	lookPaceMost = time.Minute
)

// lookForDirect looks for direct ways to instances that are reached by a relay,
// where it is time. p.changing is held.
func (p *proxy) lookForDirect(now time.Time) {
	for _, t := range p.targets {
		w := t.way.Load()
		if w == nil || !w.relayed || t.gone || t.looks.looking || now.Before(t.looks.next) {
			continue
		}
		t.looks.pause = min(max(lookPace, 2*t.looks.pause), lookPaceMost)
		t.looks.looking, t.looks.next = true, now.Add(t.looks.pause)
		p.net.work.Go(func() { p.goDirect(t) })
	}
}

// goDirect has new calls of an instance go by a direct link, if there can be one.
// Those under way end where they are.
func (p *proxy) goDirect(t *target) {
	l := p.dialDirect(t)
	p.changing.Lock()
	defer p.changing.Unlock()
	t.looks.looking = false
	if l == nil {
		return
	}
	err := errMeanwhile
	if w := t.way.Load(); w != nil && w.relayed && !t.gone && p.targets[t.id] == t {
		err = p.move(t, l)
	} else {
		_ = l.Close()
	}
	if err != nil {
		p.net.o.Logger.Info("network: a direct way was not taken", "name", p.name, "node", t.id.Short(), "why", err)
		return
	}
	t.looks = looks{}
	p.net.o.Logger.Info("network: a direct way instead of a relay", "name", p.name, "node", t.id.Short())
}

var errMeanwhile = errors.New("the instance has another link, or none is wanted any more")

// dialDirect opens a link to an instance over a connection that there is without
// a relay, or at one of the addresses that its node tells; nil if it can't.
func (p *proxy) dialDirect(t *target) link.Link {
	m := p.net.self.Load()
	ctx, cancel := context.WithTimeout(p.ctx, takeTime)
	defer cancel()
	d := dialer{m.endpoint}
	if m.endpoint.Connected(t.id) {
		if l, err := d.open(ctx, "", t.id, purposeCell, p.name, nil, nil); err == nil {
			return l
		}
	}
	paths, _ := m.resolver.Resolve(ctx, discovery.Target{Service: p.name, Node: t.id})
	for _, path := range paths {
		if path.Medium != MediumQUIC {
			continue
		}
		attempt, cancel := context.WithTimeout(ctx, attemptTime)
		l, err := d.Dial(attempt, path)
		cancel()
		if err == nil {
			return l
		}
	}
	return nil
}

// move gives an instance another link, which it owns. p.changing is held.
func (p *proxy) move(t *target, l link.Link) error {
	next := p.forward.NewTarget(t.forward.Name())
	gone, err := next.Attach(l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	// On the engine's thread, so that no call comes in between.
	var routed error
	err = p.net.o.Engine.Do(context.Background(), func() {
		routed = errors.Join(t.forward.Unroute(t.routed...), next.Route(t.routed...))
	})
	if err = errors.Join(err, routed); err != nil {
		return errors.Join(err, next.Close())
	}
	old := t.forward
	t.forward = next
	p.connected(t, l, gone)
	p.net.work.Go(func() { _ = old.Retire(p.net.closing) })
	return nil
}
