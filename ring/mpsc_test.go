package ring

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// fan is an MPSC ring with its consumer and as many producers as a test wants,
// each with a mapping of its own.
type fan struct {
	t    testing.TB
	m    *Memory // the consumer's
	c    *SharedConsumer
	bell *Doorbell
}

func newFan(t testing.TB, size int) *fan {
	t.Helper()
	f := &fan{t: t, bell: newBell(t), m: newMemory(t, Options{Kind: MPSC, Size: size, Name: "fan"})}
	c, err := NewSharedConsumer(f.m, f.bell)
	if err != nil {
		t.Fatal(err)
	}
	f.c = c
	return f
}

// producer adds a producer of this process; id, if not 0, is who it claims to
// be.
func (f *fan) producer(id uint64) *SharedProducer {
	f.t.Helper()
	if id == 0 {
		id = self()
	}
	p, err := newSharedProducer(attachAgain(f.t, f.m), f.bell, id)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

// label is what a test's record carries to tell who sent it and when.
type label struct{ sender, number uint32 }

func labelled(l label) wire.Header {
	return wire.Header{Fingerprint: uint64(l.sender)<<32 | uint64(l.number), Correlation: l.number, Kind: wire.KindEvent}
}

// issue fills claimed places with the numbers from l on.
func issue(vs []wire.Vesicle, l label) {
	for i := range vs {
		vs[i].Header = labelled(l)
		content(vs[i].Payload, l.number)
		l.number++
	}
}

// labelOf checks a record and tells who sent it.
func labelOf(v wire.Vesicle) (label, error) {
	l := label{uint32(v.Header.Fingerprint >> 32), uint32(v.Header.Fingerprint)}
	want := make([]byte, len(v.Payload))
	content(want, l.number)
	if v.Header.Correlation != l.number || int(v.Header.Length) != len(v.Payload) || !bytes.Equal(v.Payload, want) {
		return l, fmt.Errorf("record %d of sender %d is damaged", l.number, l.sender)
	}
	return l, nil
}

// send claims n places of size bytes, commits and flushes them.
func send(t testing.TB, p *SharedProducer, l label, n, size int) {
	t.Helper()
	vs := make([]wire.Vesicle, n)
	got, err := p.Claim(vs, size)
	if err != nil || got != n {
		t.Fatalf("Claim of %d × %d bytes = %d, %v", n, size, got, err)
	}
	issue(vs, l)
	if err := errors.Join(p.Commit(vs), p.Flush()); err != nil {
		t.Fatal(err)
	}
}

// take polls and releases everything that is there.
func (f *fan) take() (ls []label) {
	f.t.Helper()
	in := make([]wire.Vesicle, 7)
	for {
		n, err := f.c.Poll(in)
		if err != nil {
			f.t.Fatal("Poll:", err)
		}
		for _, v := range in[:n] {
			l, err := labelOf(v)
			if err != nil {
				f.t.Fatal(err)
			}
			ls = append(ls, l)
		}
		if err := f.c.Release(n); err != nil {
			f.t.Fatal(err)
		}
		if n == 0 {
			return ls
		}
	}
}

func (f *fan) wants(want ...label) {
	f.t.Helper()
	if got := f.take(); !slices.Equal(got, want) {
		f.t.Fatalf("received %v, want %v", got, want)
	}
}

// settled checks invariant Z on a ring with nothing in it.
func (f *fan) settled() {
	f.t.Helper()
	if f.c.next != f.c.released || *f.m.control.u64(offWriterCursor) != f.c.next {
		f.t.Fatalf("not empty: claimed up to %d, polled up to %d, released up to %d",
			*f.m.control.u64(offWriterCursor), f.c.next, f.c.released)
	}
	for off := uint64(0); off < f.m.size; off += line {
		if w := *f.m.data.word(off); w != 0 {
			f.t.Fatalf("the word at %d is %#x in an empty ring", off, w)
		}
	}
}

func (f *fan) freeSlots() (n int) {
	for i := range uint32(slotCount) {
		if *f.m.slot(i).owner == 0 {
			n++
		}
	}
	return n
}

func TestSharedOrderIsThatOfClaims(t *testing.T) {
	f := newFan(t, MinSize)
	a, b := f.producer(0), f.producer(0)
	va, vb := make([]wire.Vesicle, 2), make([]wire.Vesicle, 3)
	for _, x := range []struct {
		p  *SharedProducer
		vs []wire.Vesicle
		l  label
	}{{a, va, label{1, 0}}, {b, vb, label{2, 0}}} {
		if n, err := x.p.Claim(x.vs, 100); n != len(x.vs) || err != nil {
			t.Fatal(n, err)
		}
		issue(x.vs, x.l)
	}
	if err := b.Commit(vb); err != nil {
		t.Fatal(err)
	}
	f.wants() // a claimed first
	if err := a.Commit(va[:1]); err != nil {
		t.Fatal(err)
	}
	f.wants(label{1, 0})
	if err := a.Commit(va[1:]); err != nil {
		t.Fatal(err)
	}
	f.wants(label{1, 1}, label{2, 0}, label{2, 1}, label{2, 2})
	f.settled()
}

func TestSharedEveryLengthArrives(t *testing.T) {
	f := newFan(t, MinSize)
	ps := []*SharedProducer{f.producer(0), f.producer(0)}
	for size := 0; size <= ps[0].MaxPayload(); size++ {
		p := ps[size%2]
		send(t, p, label{uint32(size % 2), uint32(size)}, 1, size)
		f.wants(label{uint32(size % 2), uint32(size)})
	}
	f.settled()
}

func TestSharedTheLargestRecordFitsAtEveryOffset(t *testing.T) {
	f := newFan(t, MinSize)
	p := f.producer(0)
	for i := range uint32(2 * MinSize / line) {
		send(t, p, label{1, 2 * i}, 1, p.MaxPayload())
		f.wants(label{1, 2 * i})
		send(t, p, label{1, 2*i + 1}, 1, 0)
		f.wants(label{1, 2*i + 1})
	}
	f.settled()
}

func TestSharedBatchAcrossTheWrap(t *testing.T) {
	for lines := range MinSize / line {
		f := newFan(t, MinSize)
		p := f.producer(0)
		for range lines {
			send(t, p, label{9, 9}, 1, 0)
			f.wants(label{9, 9})
		}
		send(t, p, label{1, 0}, 10, 200) // 40 of 64 lines
		want := make([]label, 10)
		for i := range want {
			want[i] = label{1, uint32(i)}
		}
		f.wants(want...)
		f.settled()
	}
}

func TestSharedFull(t *testing.T) {
	f := newFan(t, MinSize)
	a, b := f.producer(0), f.producer(0)
	vs := make([]wire.Vesicle, 100)
	n, err := a.Claim(vs, 40)
	if n != MinSize/line-1 || err != nil {
		t.Fatalf("claimed %d, %v; want all but one line", n, err)
	}
	if n, err := b.Claim(make([]wire.Vesicle, 1), 0); n != 0 || !errors.Is(err, ErrFull) {
		t.Fatalf("Claim in a full ring = %d, %v", n, err)
	}
	if b.Stats().Full != 1 {
		t.Error("not counted")
	}
	issue(vs[:n], label{1, 0})
	if err := a.Commit(vs[:n]); err != nil {
		t.Fatal(err)
	}
	if got := len(f.take()); got != n {
		t.Fatalf("received %d of %d", got, n)
	}
	send(t, b, label{2, 0}, 1, 0)
	f.wants(label{2, 0})
	f.settled()
}

func TestSharedAbort(t *testing.T) {
	for name, run := range map[string]func(t *testing.T, f *fan, p, q *SharedProducer){
		"nothing claimed": func(t *testing.T, f *fan, p, _ *SharedProducer) { p.Abort(); f.wants() },
		"claims before another's": func(t *testing.T, f *fan, p, q *SharedProducer) {
			_, _ = p.Claim(make([]wire.Vesicle, 3), 100)
			send(t, q, label{2, 0}, 1, 10)
			f.wants()
			p.Abort()
			f.wants(label{2, 0})
		},
		"the rest of a batch": func(t *testing.T, f *fan, p, _ *SharedProducer) {
			vs := make([]wire.Vesicle, 3)
			_, _ = p.Claim(vs, 100)
			issue(vs, label{1, 0})
			if err := p.Commit(vs[:1]); err != nil {
				t.Fatal(err)
			}
			p.Abort()
			f.wants(label{1, 0})
		},
		"runs with another's between": func(t *testing.T, f *fan, p, q *SharedProducer) {
			_, _ = p.Claim(make([]wire.Vesicle, 3), 100)
			send(t, q, label{2, 0}, 1, 10)
			_, _ = p.Claim(make([]wire.Vesicle, 3), 500)
			send(t, q, label{2, 1}, 1, 10)
			p.Abort()
			f.wants(label{2, 0}, label{2, 1})
		},
		"closing aborts": func(t *testing.T, f *fan, p, q *SharedProducer) {
			_, _ = p.Claim(make([]wire.Vesicle, 3), 100)
			send(t, q, label{2, 0}, 1, 10)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			f.wants(label{2, 0})
			if _, err := p.Claim(make([]wire.Vesicle, 1), 1); !errors.Is(err, ErrClosed) {
				t.Error("Claim after Close:", err)
			}
			if f.freeSlots() != slotCount-1 || p.Close() != nil {
				t.Error("the slot was not freed")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFan(t, MinSize)
			p, q := f.producer(0), f.producer(0)
			run(t, f, p, q)
			f.settled()
		})
	}
}

// Claims that follow each other merge into one run, with one mark.
func TestSharedClaimsInARow(t *testing.T) {
	f := newFan(t, 64<<10)
	p := f.producer(0)
	vs := make([]wire.Vesicle, 3*placedCount)
	for i := range vs {
		if n, err := p.Claim(vs[i:i+1], 40); n != 1 || err != nil {
			t.Fatalf("claim %d: %d, %v", i, n, err)
		}
	}
	issue(vs, label{1, 0})
	for i, n := range []int{1, 100, len(vs) - 101} {
		if err := p.Commit(vs[:n]); err != nil {
			t.Fatal(i, err)
		}
		vs = vs[n:]
		if got := len(f.take()); got != n {
			t.Fatalf("received %d of %d", got, n)
		}
	}
	f.settled()
}

func TestSharedRunsAreBounded(t *testing.T) {
	f := newFan(t, 256<<10)
	p := f.producer(0)
	vs := make([]wire.Vesicle, placedCount)
	for i := range vs {
		if _, err := p.Claim(vs[i:i+1], i%2*64); err != nil {
			t.Fatal(i, err)
		}
	}
	if _, err := p.Claim(make([]wire.Vesicle, 1), 0); !errors.Is(err, ErrFull) {
		t.Fatalf("claim of one run too many: %v", err)
	}
	issue(vs, label{1, 0})
	if err := p.Commit(vs); err != nil {
		t.Fatal(err)
	}
	if got := len(f.take()); got != len(vs) {
		t.Fatalf("received %d of %d", got, len(vs))
	}
}

func TestSharedMisuse(t *testing.T) {
	f := newFan(t, MinSize)
	p := f.producer(0)
	vs := make([]wire.Vesicle, 3)
	if _, err := p.Claim(vs, p.MaxPayload()+1); !errors.Is(err, ErrTooLarge) {
		t.Error("too large:", err)
	}
	if _, err := p.Claim(vs, -1); !errors.Is(err, ErrTooLarge) {
		t.Error("negative:", err)
	}
	if err := p.Commit(vs[:1]); !errors.Is(err, ErrOrder) {
		t.Error("commit of nothing:", err)
	}
	_, _ = p.Claim(vs, 100)
	issue(vs, label{1, 0})
	vs[1], vs[2] = vs[2], vs[1]
	if err := p.Commit(vs); !errors.Is(err, ErrOrder) {
		t.Error("commit out of order:", err)
	}
	f.wants(label{1, 0}) // that one was in order
	vs[1], vs[2] = vs[2], vs[1]
	if err := p.Commit(vs[1:]); err != nil {
		t.Error("commit of the rest:", err)
	}
	f.wants(label{1, 1}, label{1, 2})
	if err := f.c.Release(1); !errors.Is(err, ErrOrder) {
		t.Error("release of nothing:", err)
	}
	if err := f.c.Release(-1); !errors.Is(err, ErrOrder) {
		t.Error("release of less:", err)
	}
	f.settled()
}

func TestSharedSlotsRunOut(t *testing.T) {
	f := newFan(t, MinSize)
	ps := make([]*SharedProducer, slotCount)
	for i := range ps {
		ps[i] = f.producer(0)
	}
	if _, err := NewSharedProducer(f.m, nil); !errors.Is(err, ErrInUse) {
		t.Fatal("one too many:", err)
	}
	for i, p := range ps {
		send(t, p, label{uint32(i), 0}, 1, 8)
		f.wants(label{uint32(i), 0})
	}
	if err := ps[17].Close(); err != nil {
		t.Fatal(err)
	}
	if p := f.producer(0); p.id != 17 {
		t.Errorf("got slot %d, want the free one", p.id)
	}
}

func TestSharedRolesOfTheWrongMemory(t *testing.T) {
	spsc := newMemory(t, Options{Size: MinSize})
	if _, err := NewSharedProducer(spsc, nil); !errors.Is(err, ErrKind) {
		t.Error(err)
	}
	if _, err := NewSharedConsumer(spsc, nil); !errors.Is(err, ErrKind) {
		t.Error(err)
	}
	f := newFan(t, MinSize)
	if _, err := NewSharedConsumer(f.m, nil); !errors.Is(err, ErrInUse) {
		t.Error("second consumer:", err)
	}
	m, err := Create(Options{Kind: MPSC, Size: MinSize})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, m.Close())
	if _, err := NewSharedProducer(m, nil); !errors.Is(err, ErrClosed) {
		t.Error("closed memory:", err)
	}
}

func bellRings(t *testing.T, d *Doorbell) bool {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(d.FD()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

func TestSharedArm(t *testing.T) {
	for name, run := range map[string]func(t *testing.T, f *fan, p, q *SharedProducer) (arms bool){
		"empty": func(t *testing.T, f *fan, p, q *SharedProducer) bool { return true },
		"committed": func(t *testing.T, f *fan, p, q *SharedProducer) bool {
			send(t, p, label{}, 1, 1)
			return false
		},
		"claimed, not committed": func(t *testing.T, f *fan, p, q *SharedProducer) bool {
			_, _ = p.Claim(make([]wire.Vesicle, 1), 1)
			return true
		},
		"committed behind another's claim": func(t *testing.T, f *fan, p, q *SharedProducer) bool {
			_, _ = p.Claim(make([]wire.Vesicle, 1), 1)
			send(t, q, label{}, 1, 1)
			return true
		},
		"stopped": func(t *testing.T, f *fan, p, q *SharedProducer) bool { f.c.Stop(true); return false },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFan(t, MinSize)
			p, q := f.producer(0), f.producer(0)
			arms := run(t, f, p, q)
			if got := f.c.Arm(); got != arms {
				t.Fatalf("Arm = %v", got)
			}
			if !arms {
				return
			}
			if bellRings(t, f.bell) {
				t.Fatal("rings before anything happened")
			}
			p.Abort() // wakes if it makes way for another's record
			send(t, q, label{}, 1, 1)
			if !bellRings(t, f.bell) {
				t.Fatal("nobody woke the sleeper")
			}
			f.c.Disarm()
			if bellRings(t, f.bell) {
				t.Fatal("still rings after Disarm")
			}
			if p.Stats().Wakes+q.Stats().Wakes != 1 {
				t.Error("woken more than once")
			}
		})
	}
}

// Records that wait behind a claim have had their wake-up; giving the claim up
// must be another.
func TestSharedAbortWakes(t *testing.T) {
	f := newFan(t, MinSize)
	p, q := f.producer(0), f.producer(0)
	_, _ = p.Claim(make([]wire.Vesicle, 1), 1)
	send(t, q, label{2, 0}, 1, 1)
	if !f.c.Arm() {
		t.Fatal("a claim is no reason to stay awake")
	}
	p.Abort()
	if !bellRings(t, f.bell) {
		t.Fatal("the sleeper sleeps over a committed record")
	}
	f.c.Disarm()
	f.wants(label{2, 0})
}

func TestSharedStop(t *testing.T) {
	f := newFan(t, MinSize)
	p := f.producer(0)
	send(t, p, label{1, 0}, 1, 1)
	f.c.Stop(true)
	in := make([]wire.Vesicle, 2)
	if n, err := f.c.Poll(in); n != 1 || err != nil {
		t.Fatalf("what was committed before: %d, %v", n, err)
	}
	if _, err := f.c.Poll(in); !errors.Is(err, ErrPeerGone) {
		t.Fatal(err)
	}
	p.Stop(true)
	if _, err := p.Claim(in, 1); !errors.Is(err, ErrPeerGone) {
		t.Fatal(err)
	}
	if err := p.Flush(); !errors.Is(err, ErrPeerGone) {
		t.Fatal(err)
	}
}

func TestSharedNoAllocations(t *testing.T) {
	f := newFan(t, MinSize)
	p, q := f.producer(0), f.producer(0)
	if payloadsAreGuarded(p) {
		t.Skip("guards allocate")
	}
	vs, in := make([]wire.Vesicle, 8), make([]wire.Vesicle, 16)
	for name, run := range map[string]func(){
		"claim, commit, flush, poll, release": func() {
			for _, p := range []*SharedProducer{p, q} {
				n, _ := p.Claim(vs, 100)
				for i := range vs[:n] {
					vs[i].Header = wire.Header{Kind: wire.KindEvent}
				}
				_ = p.Commit(vs[:n])
				_ = p.Flush()
			}
			n, err := f.c.Poll(in)
			if n == 0 || err != nil {
				t.Fatal(n, err)
			}
			_ = f.c.Release(n)
		},
		"abort":       func() { _, _ = p.Claim(vs, 100); p.Abort(); _, _ = f.c.Poll(in) },
		"empty":       func() { _, _ = f.c.Poll(in); _ = p.Flush(); f.c.Stuck() },
		"arm, disarm": func() { f.c.Arm(); f.c.Disarm() },
	} {
		if n := testing.AllocsPerRun(200, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// payloadsAreGuarded: the invariants tag is set.
func payloadsAreGuarded(p *SharedProducer) bool {
	var vs [1]wire.Vesicle
	_, _ = p.Claim(vs[:], 1)
	defer p.Abort()
	return !p.data.sameStart(vs[0].Payload, p.runs.front().pos&p.mask)
}
