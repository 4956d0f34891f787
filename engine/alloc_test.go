package engine_test

import (
	"cmp"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// flight keeps a number of requests under way over the far end of a link and
// counts replies. It allocates nothing.
type flight struct {
	far     link.Link
	depth   int // requests under way, at most 8; 0 is 8
	out     [8]wire.Vesicle
	in      [8]wire.Vesicle
	sent    int
	replies int
}

func (f *flight) run(t testing.TB, until int) {
	depth := cmp.Or(f.depth, len(f.out))
	for f.replies < until {
		if f.sent-f.replies < depth {
			n, err := f.far.Claim(f.out[:depth], 64)
			if err == nil {
				for i := range n {
					f.out[i].Header = request(uint32(f.sent + i))
				}
				if err := f.far.Commit(f.out[:n]); err != nil {
					t.Fatal(err)
				}
				if err := f.far.Flush(); err != nil {
					t.Fatal(err)
				}
				f.sent += n
			}
		}
		n, err := f.far.Poll(f.in[:])
		if err != nil {
			t.Fatal(err)
		}
		if err := f.far.Release(n); err != nil {
			t.Fatal(err)
		}
		f.replies += n
		if n == 0 {
			sched.Pause()
		}
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		var near, far link.Link = newFast()
		if idle == engine.IdlePark || idle == engine.IdleAdaptive {
			near, far = pipe(t, linktest.PipeConfig{}) // can be slept on
		}
		e := running(t, engine.Config{Idle: idle})
		var sum atomic.Int64
		add(t, e, near, engine.HandlerFunc(func(p *engine.Port, v *wire.Vesicle) {
			sum.Add(p.Now() & 1)
			echo(p, v)
		}))
		ticker := &engine.Timer{Func: func(t *engine.Timer) { e.StartTimer(t, 200*time.Microsecond) }}
		do(t, e, func() { e.StartTimer(ticker, 0) })
		f := &flight{far: far}
		f.run(t, 2000) // warm up
		var before, after runtime.MemStats
		const vesicles = 20_000
		runtime.ReadMemStats(&before)
		f.run(t, f.replies+vesicles)
		runtime.ReadMemStats(&after)
		// The runtime itself allocates now and then: for a thread, a timer.
		if n := after.Mallocs - before.Mallocs; n > vesicles/200 && !raceDetector {
			t.Errorf("%d allocations for %d vesicles", n, vesicles)
		}
	})
}

func TestRetryAllocatesNothing(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{Slots: 4})
	e := running(t, engine.Config{Idle: engine.IdleSpin})
	add(t, e, near, engine.HandlerFunc(echo))
	for i := range uint32(8) {
		eventually(t, "room", func() bool { return send(t, far, request(i), "") })
	}
	eventually(t, "retries", func() bool { return e.Stats().Retries > 0 })
	var before, after runtime.MemStats
	retries := e.Stats().Retries
	runtime.ReadMemStats(&before)
	for e.Stats().Retries < retries+10_000 {
		runtime.Gosched()
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > 100 && !raceDetector {
		t.Errorf("%d allocations in 10,000 retries", n)
	}
}

// BenchmarkEcho is the engine's own cost: eight requests under way over a
// link in this process, with as many silent links beside it as the name says.
func BenchmarkEcho(b *testing.B) {
	for _, silent := range []int{0, 9, 999} {
		b.Run(strconv.Itoa(silent), func(b *testing.B) {
			near, far := newFast()
			e := running(b, engine.Config{Idle: engine.IdleSpin})
			for range silent {
				add(b, e, &quiet{}, engine.HandlerFunc(echo))
			}
			add(b, e, near, engine.HandlerFunc(echo))
			f := &flight{far: far}
			f.run(b, 100_000)
			b.ReportAllocs()
			b.ResetTimer()
			f.run(b, f.replies+b.N)
		})
	}
}

// BenchmarkBusyLinks is the round trip over ten busy links, one request each at
// a time, alone and among 990 silent ones.
func BenchmarkBusyLinks(b *testing.B) {
	const busy = 10
	for _, links := range []int{busy, 1000} {
		b.Run(strconv.Itoa(links), func(b *testing.B) {
			e := running(b, engine.Config{Idle: engine.IdleSpin})
			var flights [busy]flight
			for i := range links {
				near, far := newFast()
				add(b, e, near, engine.HandlerFunc(echo))
				if i%(links/busy) == 0 {
					flights[i/(links/busy)] = flight{far: far, depth: 1}
				}
			}
			round := func() {
				for i := range flights {
					flights[i].run(b, flights[i].replies+1)
				}
			}
			for range 20_000 {
				round()
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				round()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/busy, "ns/rtt")
			b.ReportMetric(float64(e.Stats().Hot), "hot")
		})
	}
}
