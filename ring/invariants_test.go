//go:build invariants

package ring

import (
	"errors"
	"fmt"
	"runtime/debug"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// faults reports whether f touches memory that may not be touched.
func faults(t *testing.T, f func()) (faulted bool) {
	t.Helper()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(interface{ Addr() uintptr }); !ok {
				t.Errorf("another panic than a fault: %v", r)
			}
			faulted = true
		}
	}()
	f()
	return false
}

var sink byte

func TestRetainedPayloadsFault(t *testing.T) {
	for _, size := range []int{1, 40, 5000} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			x := newPair(t, 64<<10)
			claims := x.claim(3, size)
			x.commit(claims[:1])
			if !faults(t, func() { claims[0].Payload[0] = 1 }) {
				t.Error("a place can be written after Commit")
			}
			if faults(t, func() { claims[1].Payload[size-1] = 1 }) {
				t.Error("a claimed place can't be written")
			}
			x.p.Abort()
			if !faults(t, func() { sink = claims[2].Payload[size-1] }) {
				t.Error("a place can be read after Abort")
			}
			x.flush()
			views := x.poll(size)
			if faults(t, func() { sink = views[0].Payload[size-1] }) {
				t.Error("a polled payload can't be read")
			}
			if !faults(t, func() { views[0].Payload[0] = 1 }) {
				t.Error("a polled payload can be written")
			}
			x.release(1)
			if !faults(t, func() { sink = views[0].Payload[0] }) {
				t.Error("a payload can be read after Release")
			}
		})
	}
}

func TestRetainedPayloadsFaultLongAfter(t *testing.T) {
	x := newPair(t, MinSize)
	x.send(1, 8)
	old := x.poll(8)
	x.release(1)
	for range quarantined - 1 {
		x.send(1, 8)
		x.receive(8)
	}
	if !faults(t, func() { sink = old[0].Payload[0] }) {
		t.Errorf("a payload can be read %d releases later", quarantined-1)
	}
}

// A subscriber's payloads lie in memory that is the publisher's, but who keeps
// one too long must find out all the same.
func TestRetainedBroadcastPayloadsFault(t *testing.T) {
	a := newAir(t, MinSize)
	s := a.subscriber(Newest)
	a.publish(2, 100)
	in := make([]wire.Vesicle, 2)
	if n, err := s.Poll(in); n != 2 || err != nil {
		t.Fatalf("Poll = %d, %v", n, err)
	}
	first, second := in[0].Payload, in[1].Payload
	if intact, err := s.Release(1); !intact || err != nil {
		t.Fatalf("Release = %v, %v", intact, err)
	}
	if !faults(t, func() { sink = first[0] }) {
		t.Error("a payload can be read after Release")
	}
	if faults(t, func() { sink = second[0] }) {
		t.Error("a payload that is not released can't be read")
	}
	if !faults(t, func() { second[0] = 1 }) {
		t.Error("a polled payload can be written")
	}
	for range 100 { // far more than the ring holds
		a.publish(1, 100)
	}
	if n, err := s.Poll(in); n != 0 || !errors.Is(err, ErrLapped) {
		t.Fatalf("Poll after a lap = %d, %v", n, err)
	}
	if faults(t, func() { sink = second[0] }) {
		t.Error("a lap took away a payload that is not released")
	}
	if intact, err := s.Release(1); intact || err != nil {
		t.Errorf("Release after a lap = %v, %v", intact, err)
	}
	if !faults(t, func() { sink = second[0] }) {
		t.Error("a payload can be read after Release")
	}
}

func TestReleasedMemoryIsOverwritten(t *testing.T) {
	x := newPair(t, MinSize)
	x.send(3, 100)
	x.receive(100, 100, 100)
	for i, b := range x.near.data.bytes(0, 3*spanOf(100)) {
		if b != mangled {
			t.Fatalf("byte %d of released memory is %#x", i, b)
		}
	}
}

func TestGuardsAreBoundedAndFreed(t *testing.T) {
	before := guarded.Load()
	m, err := Create(Options{Size: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := NewProducer(m, nil, nil)
	c, _ := NewConsumer(m, nil, nil)
	vs, in := make([]wire.Vesicle, 8), make([]wire.Vesicle, 8)
	for i := range 2000 {
		n, err := p.Claim(vs, 8+i%9000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range vs[:n] {
			vs[i].Header = wire.Header{Kind: wire.KindEvent}
		}
		if p.Commit(vs[:n]) != nil || p.Flush() != nil {
			t.Fatal("sending failed")
		}
		if got, err := c.Poll(in); got != n || err != nil || c.Release(n) != nil {
			t.Fatalf("Poll = %d, %v, want %d", got, err, n)
		}
	}
	if used := guarded.Load() - before; used < quarantined || used > 2*quarantined+16 {
		t.Errorf("%d pages are guarded, want two times %d", used, quarantined)
	}
	_, _ = p.Claim(vs, 8)
	closed(t, m.Close())
	if left := guarded.Load() - before; left != 0 {
		t.Errorf("%d pages left after Close", left)
	}
}

// Beyond the limit of mappings payloads go unguarded, and all works.
func TestGuardsWithoutMappings(t *testing.T) {
	guarded.Add(maxGuarded)
	defer guarded.Add(-maxGuarded)
	x := newPair(t, MinSize)
	for size := range 100 {
		x.send(2, size)
		x.receive(size, size)
	}
}
