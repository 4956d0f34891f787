package rpc_test

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/sched"
)

// broadcastPair makes a broadcast ring with a publisher and a listener of
// Tick.
func broadcastPair(t testing.TB, size int) (*rpc.Broadcast, *rpc.Listener) {
	t.Helper()
	m, err := ring.Create(ring.Options{Kind: ring.Broadcast, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	p, err := ring.NewPublisher(m)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := ring.NewSubscriber(m, ring.Newest, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := rpc.NewBroadcast(p, arith.ArithDesc.Method("Tick"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := rpc.NewListener(sub, arith.ArithDesc.Method("Tick"))
	if err != nil {
		t.Fatal(err)
	}
	return b, l
}

func TestBroadcast(t *testing.T) {
	b, l := broadcastPair(t, 1<<20)
	events := rpc.NewEvents[arith.Number](l)
	for i := range int64(200) {
		if err := b.Publish(&arith.Number{Value: i}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range int64(100) {
		if e, err := events.Receive(); err != nil || e.Value != i {
			t.Fatalf("event %d: %d, %v", i, e.Value, err)
		}
	}
	next := int64(100)
	for next < 200 {
		if _, err := l.Poll(func(event []byte) {
			if got := int64(binary.LittleEndian.Uint64(event)); got != next {
				t.Fatalf("event %d: %d", next, got)
			}
			next++
		}); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.Lost(); n != 0 {
		t.Errorf("%d events lost", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := events.Receive(); !errors.Is(err, ring.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestBroadcastLosesWithACount(t *testing.T) {
	b, l := broadcastPair(t, 16<<10)
	const n = 10_000
	for i := range int64(n) {
		if err := b.Publish(&arith.Number{Value: i}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	got, last := uint64(0), int64(-1)
	for last != n-1 {
		if _, err := l.Poll(func(event []byte) {
			v := int64(binary.LittleEndian.Uint64(event))
			if v <= last {
				t.Fatalf("event %d after %d", v, last)
			}
			last = v
			got++
		}); err != nil {
			t.Fatal(err)
		}
	}
	if got+l.Lost() != n || got == n {
		t.Errorf("%d events received and %d lost, of %d", got, l.Lost(), n)
	}
}

func BenchmarkBroadcast(b *testing.B) {
	pub, l := broadcastPair(b, 1<<20)
	const lead = 4096 // events that the publisher may be ahead
	var received atomic.Int64
	pinned := func(cpu int, f func()) <-chan struct{} {
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with it
			defer close(done)
			if _, err := sched.Pin(cpu); err != nil {
				b.Error(err)
				return
			}
			f()
		}()
		return done
	}
	b.ReportAllocs()
	b.ResetTimer()
	sum := uint64(0)
	listener := pinned(runtime.NumCPU()-1, func() {
		add := func(event []byte) { sum += binary.LittleEndian.Uint64(event) }
		for n := int64(0); n < int64(b.N); {
			k, err := l.Poll(add)
			if err != nil {
				b.Error(err)
				return
			}
			if k == 0 {
				sched.Pause()
				continue
			}
			n += int64(k)
			received.Store(n)
		}
	})
	publisher := pinned(0, func() {
		for i := range b.N {
			place, err := pub.Begin(8)
			if err != nil {
				b.Error(err)
				return
			}
			binary.LittleEndian.PutUint64(place, 1)
			pub.Send(8)
			for i%64 == 0 && int64(i)-received.Load() > lead {
				sched.Pause()
			}
		}
		if err := pub.Flush(); err != nil {
			b.Error(err)
		}
	})
	<-publisher
	<-listener
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
	if l.Lost() != 0 || sum != uint64(b.N) {
		b.Errorf("%d events lost, sum %d of %d", l.Lost(), sum, b.N)
	}
}
