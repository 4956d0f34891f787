package forward_test

import (
	"runtime"
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

// exchanger passes vesicles between the far ends without allocating, so that
// what is counted is the forwarder's.
type exchanger struct {
	t testing.TB
	v [1]wire.Vesicle
}

func (x *exchanger) send(l link.Link, h wire.Header, size int) {
	for {
		if n, _ := l.Claim(x.v[:], size); n == 1 {
			break
		}
		runtime.Gosched()
	}
	h.Hops = 16
	x.v[0].Header = h
	clear(x.v[0].Payload)
	if h.Flags&wire.FlagDeadline != 0 {
		wire.PutDeadline((*[8]byte)(x.v[0].Payload), 1<<40)
	}
	if err := l.Commit(x.v[:]); err != nil {
		x.t.Fatal(err)
	}
	if err := l.Flush(); err != nil {
		x.t.Fatal(err)
	}
}

func (x *exchanger) receive(l link.Link) (h wire.Header) {
	for {
		n, err := l.Poll(x.v[:])
		if err != nil {
			x.t.Fatal(err)
		}
		if n == 1 {
			h = x.v[0].Header
			if err := l.Release(1); err != nil {
				x.t.Fatal(err)
			}
			return h
		}
		runtime.Gosched() // AllocsPerRun leaves one P for the engine and this
	}
}

func TestAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, c := range []struct {
		name   string
		size   int
		pieces int // that the target gets
	}{
		{"small", 20, 1}, {"in pieces", 1000, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 1, nil, linktest.PipeConfig{MaxPayload: 300})
			x := &exchanger{t: t}
			k := r.callers[0]
			correlation := uint32(0)
			round := func() {
				correlation++
				h := request(correlation)
				h.Flags = wire.FlagDeadline
				x.send(k, h, c.size)
				for range c.pieces {
					h = x.receive(r.device)
				}
				x.send(r.device, answer(h, wire.KindStreamItem), c.size%300)
				x.send(r.device, answer(h, wire.KindReply), c.size%300)
				x.receive(k)
				x.receive(k)
				h = request(0)
				h.Kind = wire.KindEvent
				x.send(k, h, c.size%300)
				x.receive(r.device)
				h = request(correlation) // of a call that ended: refused nothing, dropped
				h.Kind = wire.KindCancel
				x.send(k, h, 0)
			}
			round()
			if n := testing.AllocsPerRun(100, round); n != 0 {
				t.Errorf("%v allocations a round", n)
			}
		})
	}
}

// BenchmarkForward is a call and its answer through a forwarder, both far ends
// polled by this goroutine.
func BenchmarkForward(b *testing.B) {
	r := newRig(b, 1, nil, linktest.PipeConfig{})
	x := &exchanger{t: b}
	for i := range b.N {
		x.send(r.callers[0], request(uint32(i)), 32)
		h := x.receive(r.device)
		x.send(r.device, answer(h, wire.KindReply), 32)
		x.receive(r.callers[0])
	}
}
