package engine_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

func TestPeerDeath(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		for _, asleep := range []bool{false, true} {
			near, far := newLifeline(t)
			e := running(t, engine.Config{Idle: idle})
			var handled atomic.Int64
			gone := make(chan error, 2)
			add(t, e, near, engine.HandlerFunc(func(*engine.Port, *wire.Vesicle) { handled.Add(1) }),
				engine.OnGone(func(_ *engine.Port, err error) { gone <- err }))
			if asleep {
				time.Sleep(5 * time.Millisecond)
			}
			// Published before death, so handled before OnGone.
			for i := range uint32(50) {
				send(t, far, event(i), "")
			}
			near.kill()
			select {
			case err := <-gone:
				if !errors.Is(err, link.ErrPeerGone) {
					t.Errorf("OnGone: %v", err)
				}
			case <-time.After(patience):
				t.Fatal("the death was never noticed")
			}
			if n := handled.Load(); n != 50 {
				t.Errorf("%d vesicles handled before OnGone, want 50", n)
			}
			eventually(t, "the port has left", func() bool { s := e.Stats(); return s.Links == 0 && s.Gone == 1 })
			// A wake-up looks, and a slow sender wakes an engine for each vesicle.
			if n, parks := near.checks.Load(), int64(e.Stats().Parks); n > 10+2*parks {
				t.Errorf("%d looks at the sign of life in %d wake-ups", n, parks)
			}
		}
	})
}

func TestCorruptPeer(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{})
	e := running(t, engine.Config{})
	gone := make(chan error, 1)
	add(t, e, near, engine.HandlerFunc(echo), engine.OnGone(func(_ *engine.Port, err error) { gone <- err }))
	far.Inject([wire.HeaderSize]byte{0xff, 0xff, 0xff, 0xff}, nil)
	if err := <-gone; !errors.Is(err, link.ErrCorrupt) {
		t.Errorf("OnGone: %v", err)
	}
}

func TestPeerDiesWhileHandlerWaitsForRoom(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		near, far := newLifeline(t)
		e := running(t, engine.Config{Idle: idle})
		gone := make(chan error, 1)
		add(t, e, near, engine.HandlerFunc(func(p *engine.Port, _ *wire.Vesicle) { p.Retry() }),
			engine.OnGone(func(_ *engine.Port, err error) { gone <- err }))
		for i := range uint32(3) {
			send(t, far, event(i), "")
		}
		eventually(t, "retries", func() bool { return e.Stats().Retries > 3 })
		near.kill()
		if err := <-gone; !errors.Is(err, link.ErrPeerGone) {
			t.Errorf("OnGone: %v", err)
		}
		eventually(t, "three dropped", func() bool { return e.Stats().Dropped == 3 })
	})
}

func TestBackpressure(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		near, far := pipe(t, linktest.PipeConfig{Slots: 4})
		e := running(t, engine.Config{Idle: idle})
		add(t, e, near, engine.HandlerFunc(echo))
		// Nobody reads the replies: four of them, four requests held back or
		// unpolled, and then the peer finds its link full.
		const held = 8
		for i := range uint32(held) {
			eventually(t, "room", func() bool { return send(t, far, request(i), "x") })
		}
		for range 10 {
			time.Sleep(time.Millisecond)
			if send(t, far, request(held), "x") {
				t.Fatalf("more than %d requests found room", held)
			}
		}
		// Another link goes on meanwhile.
		other, otherFar := pipe(t, linktest.PipeConfig{})
		add(t, e, other, engine.HandlerFunc(echo))
		send(t, otherFar, request(1), "y")
		receive(t, otherFar)
		for i := range uint32(held) {
			if g := receive(t, far); g.Correlation != i {
				t.Fatalf("reply %d: %+v", i, g)
			}
			time.Sleep(100 * time.Microsecond)
		}
	})
}

// A handler that forwards: what it waits for is room on another port.
func TestBackpressureAcrossPorts(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		in, inFar := pipe(t, linktest.PipeConfig{Slots: 8})
		out, outFar := pipe(t, linktest.PipeConfig{Slots: 2})
		e := running(t, engine.Config{Idle: idle})
		to := add(t, e, out, engine.HandlerFunc(echo))
		add(t, e, in, engine.HandlerFunc(func(p *engine.Port, v *wire.Vesicle) {
			w, err := to.Claim(len(v.Payload))
			if errors.Is(err, link.ErrFull) {
				p.Retry()
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			w.Header = v.Header
			copy(w.Payload, v.Payload)
			if err := to.Commit(); err != nil {
				t.Error(err)
			}
		}))
		for i := range uint32(8) {
			send(t, inFar, event(i), "z")
		}
		for i := range uint32(8) {
			time.Sleep(300 * time.Microsecond)
			if g := receive(t, outFar); g.Correlation != i {
				t.Fatalf("event %d: %+v", i, g)
			}
		}
	})
}

func TestSilentLinksGetCold(t *testing.T) {
	const links, floor = 200, 16
	for _, idle := range []engine.Idle{engine.IdleSpin, engine.IdleYield} {
		t.Run(idle.String(), func(t *testing.T) {
			e := running(t, engine.Config{Idle: idle})
			all := make([]*quiet, links)
			var handled atomic.Int64
			for i := range all {
				all[i] = &quiet{}
				add(t, e, all[i], engine.HandlerFunc(func(*engine.Port, *wire.Vesicle) { handled.Add(1) }))
			}
			eventually(t, "all but a few are cold", func() bool { return e.Stats().Hot == floor })
			var polls, cycles [2]uint64
			count := func(i int) {
				do(t, e, func() {
					cycles[i] = e.Stats().Cycles
					for _, q := range all {
						polls[i] += uint64(q.polls.Load())
					}
				})
			}
			count(0)
			time.Sleep(20 * time.Millisecond)
			count(1)
			if n := cycles[1] - cycles[0]; n > 1000 && (polls[1]-polls[0])/n > 2*(floor+8) {
				t.Errorf("%d polls in %d cycles", polls[1]-polls[0], n)
			}
			for i, q := range all {
				if n := q.polls.Load(); n == 0 {
					t.Errorf("link %d was never polled", i)
				}
				q.pending.Store(3)
			}
			eventually(t, "every link's vesicles are handled", func() bool { return handled.Load() == 3*links })
		})
	}
}

func TestFloodDoesNotStarveOthers(t *testing.T) {
	e := running(t, engine.Config{Idle: engine.IdleSpin, Batch: 8})
	flood, calm := &quiet{}, &quiet{}
	flood.pending.Store(1 << 40)
	var flooded, at atomic.Int64
	add(t, e, flood, engine.HandlerFunc(func(*engine.Port, *wire.Vesicle) { flooded.Add(1) }))
	done := make(chan struct{})
	add(t, e, calm, engine.HandlerFunc(func(*engine.Port, *wire.Vesicle) {
		at.Store(flooded.Load())
		close(done)
	}))
	var before int64
	do(t, e, func() { before = flooded.Load(); calm.pending.Store(1) })
	<-done
	if n := at.Load() - before; n > 16 {
		t.Errorf("%d vesicles of the flood went first, want one batch of 8, or two", n)
	}
}

// An idle engine that may sleep costs nothing, however many links it has: it
// makes no cycle at all.
func TestParkedEngineStandsStill(t *testing.T) {
	for _, idle := range []engine.Idle{engine.IdlePark, engine.IdleAdaptive} {
		t.Run(idle.String(), func(t *testing.T) {
			e := running(t, engine.Config{Idle: idle})
			all := make([]*quiet, 1000)
			for i := range all {
				all[i] = &quiet{}
				add(t, e, all[i], engine.HandlerFunc(echo))
			}
			near, far := pipe(t, linktest.PipeConfig{})
			add(t, e, near, engine.HandlerFunc(echo))
			arms := func() (n int64) {
				for _, q := range all {
					n += q.arms.Load()
				}
				return n
			}
			asleep(t, e)
			before := e.Stats()
			time.Sleep(50 * time.Millisecond)
			if after := e.Stats(); after.Cycles != before.Cycles || after.Parks != before.Parks {
				t.Errorf("idle, and yet from %+v to %+v", before, after)
			}
			armed := arms()
			for i := range uint32(20) {
				send(t, far, request(i), "wake")
				receive(t, far)
				asleep(t, e)
			}
			if n := arms() - armed; n != 0 {
				t.Errorf("20 wake-ups armed %d silent links anew", n)
			}
		})
	}
}

func TestPorts(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{})
	e := running(t, engine.Config{})
	add(t, e, &quiet{}, engine.HandlerFunc(echo))
	p := add(t, e, near, engine.HandlerFunc(echo))
	send(t, far, request(1), "abc")
	receive(t, far)
	ports, err := e.Ports(t.Context())
	if err != nil || len(ports) != 2 {
		t.Fatalf("%+v, %v", ports, err)
	}
	s := ports[1]
	if s.ID != p.ID() || s.Vesicles != 1 || s.Send.Vesicles != 1 || s.Receive.Bytes != 3 || s.Info.Kind != "pipe" {
		t.Errorf("%+v", s)
	}
}
