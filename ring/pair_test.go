package ring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// pair is both sides of one ring, each with its own mapping of the memory, so
// that no test can pass because both sides share addresses.
type pair struct {
	t        testing.TB
	near     *Memory // the producer's
	far      *Memory // the consumer's
	p        *Producer
	c        *Consumer
	data     *Doorbell // wakes the consumer
	space    *Doorbell // wakes the producer
	sent     uint32    // records committed
	received uint32
}

// newPair makes a ring of size bytes; everything is closed with the test.
func newPair(t testing.TB, size int) *pair {
	t.Helper()
	x := &pair{t: t, data: newBell(t), space: newBell(t)}
	x.near, x.far = newMemory(t, Options{Size: size, Name: "test"}), nil
	x.far = attachAgain(t, x.near)
	x.sides()
	return x
}

func (x *pair) sides() {
	x.t.Helper()
	var err error
	if x.p, err = NewProducer(x.near, x.space, x.data); err != nil {
		x.t.Fatal(err)
	}
	if x.c, err = NewConsumer(x.far, x.data, x.space); err != nil {
		x.t.Fatal(err)
	}
}

func newMemory(t testing.TB, o Options) *Memory {
	t.Helper()
	m, err := Create(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, m.Close()) })
	return m
}

// attachAgain maps m a second time.
func attachAgain(t testing.TB, m *Memory) *Memory {
	t.Helper()
	far, err := Attach(duplicate(t, m.FD()), m.Kind())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, far.Close()) })
	return far
}

func duplicate(t testing.TB, fd int) int {
	t.Helper()
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// waitingOn is the end to wait on of a doorbell that the test made for a child.
func waitingOn(fd int) *Doorbell { return &Doorbell{wait: fd, ring: -1} }

func newBell(t testing.TB) *Doorbell {
	t.Helper()
	d, err := NewDoorbell()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, d.Close()) })
	return d
}

func closed(t testing.TB, err error) {
	if err != nil {
		t.Errorf("closing: %v", err)
	}
}

// content fills b with bytes that follow from the record's number and length.
func content(b []byte, number uint32) {
	seed := number*2654435761 + uint32(len(b))
	for i := range b {
		seed = seed*1664525 + 1013904223
		b[i] = byte(seed >> 24)
	}
}

func header(number uint32) wire.Header {
	return wire.Header{
		Fingerprint: uint64(number) * 0x9e3779b97f4a7c15, Correlation: number,
		Kind: wire.KindEvent, Hops: uint8(number),
	}
}

// claim claims n places of size bytes, all of them.
func (x *pair) claim(n, size int) []wire.Vesicle {
	x.t.Helper()
	vs := make([]wire.Vesicle, n)
	got, err := x.p.Claim(vs, size)
	if err != nil || got != n {
		x.t.Fatalf("Claim of %d × %d bytes = %d, %v", n, size, got, err)
	}
	for i := range vs {
		if len(vs[i].Payload) != size || cap(vs[i].Payload) != size {
			x.t.Fatalf("place %d has %d bytes, capacity %d, want %d", i, len(vs[i].Payload), cap(vs[i].Payload), size)
		}
	}
	return vs
}

// commit fills and commits vs, of which payloads may have been shortened.
func (x *pair) commit(vs []wire.Vesicle) {
	x.t.Helper()
	for i := range vs {
		vs[i].Header = header(x.sent)
		content(vs[i].Payload, x.sent)
		x.sent++
	}
	if err := x.p.Commit(vs); err != nil {
		x.t.Fatalf("Commit of %d: %v", len(vs), err)
	}
}

func (x *pair) flush() {
	x.t.Helper()
	if err := x.p.Flush(); err != nil {
		x.t.Fatalf("Flush: %v", err)
	}
}

// send sends n records of size bytes.
func (x *pair) send(n, size int) {
	x.t.Helper()
	x.commit(x.claim(n, size))
	x.flush()
}

// poll polls exactly the records of these lengths, checks them and leaves
// them outstanding.
func (x *pair) poll(sizes ...int) []wire.Vesicle {
	x.t.Helper()
	in := make([]wire.Vesicle, len(sizes)+1)
	n, err := x.c.Poll(in)
	if err != nil || n != len(sizes) {
		x.t.Fatalf("Poll = %d, %v, want %d records", n, err, len(sizes))
	}
	for i, v := range in[:n] {
		x.check(v, sizes[i])
	}
	return in[:n]
}

// check compares the next record received with what must have been sent.
func (x *pair) check(v wire.Vesicle, size int) {
	x.t.Helper()
	want := header(x.received)
	want.Length = uint32(size)
	if v.Header != want {
		x.t.Fatalf("record %d: header %+v, want %+v", x.received, v.Header, want)
	}
	expected := make([]byte, size)
	content(expected, x.received)
	if !bytes.Equal(v.Payload, expected) {
		x.t.Fatalf("record %d of %d bytes: payload differs", x.received, size)
	}
	x.received++
}

func (x *pair) release(n int) {
	x.t.Helper()
	if err := x.c.Release(n); err != nil {
		x.t.Fatalf("Release(%d): %v", n, err)
	}
}

// receive polls, checks and releases exactly these records.
func (x *pair) receive(sizes ...int) {
	x.t.Helper()
	x.release(len(x.poll(sizes...)))
}

// empty makes sure that nothing can be polled.
func (x *pair) empty() {
	x.t.Helper()
	if n, err := x.c.Poll(make([]wire.Vesicle, 4)); n != 0 || err != nil {
		x.t.Fatalf("Poll of an empty ring = %d, %v", n, err)
	}
}

// wants fails unless err is the one that is wanted.
func wants(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

func repeat(size, n int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

// number reads the number that a stress test put at the front of a payload.
func number(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
