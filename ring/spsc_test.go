package ring

import (
	"fmt"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

func TestEveryLengthArrives(t *testing.T) {
	x := newPair(t, MinSize)
	for size := range 201 {
		x.send(1, size)
		x.receive(size)
	}
	for _, size := range []int{x.p.MaxPayload() - 1, x.p.MaxPayload()} {
		for range 5 {
			x.send(1, size)
			x.receive(size)
		}
	}
	if x.p.MaxPayload() != maxPayload(MinSize) || x.c.MaxPayload() != x.p.MaxPayload() || x.near.MaxPayload() != x.p.MaxPayload() {
		t.Errorf("MaxPayload: producer %d, consumer %d, memory %d", x.p.MaxPayload(), x.c.MaxPayload(), x.near.MaxPayload())
	}
}

func TestLengthsThatNeverFit(t *testing.T) {
	x := newPair(t, MinSize)
	for _, size := range []int{x.p.MaxPayload() + 1, MinSize, 1 << 40, -1, -1 << 62} {
		n, err := x.p.Claim(make([]wire.Vesicle, 1), size)
		wants(t, fmt.Sprint("Claim of ", size), err, ErrTooLarge)
		if n != 0 {
			t.Errorf("Claim of %d bytes = %d places", size, n)
		}
	}
	x.send(1, 0)
	x.receive(0)
}

// The largest record must fit an empty ring wherever its end happens to be.
func TestTheLargestRecordFitsAtEveryOffset(t *testing.T) {
	for offset := 0; offset < MinSize; offset += line {
		x := newPair(t, MinSize)
		for range offset / line {
			x.send(1, 0)
			x.receive(0)
		}
		x.send(1, x.p.MaxPayload())
		x.receive(x.p.MaxPayload())
		x.empty()
	}
}

func TestWrapAtEveryOffset(t *testing.T) {
	for _, size := range []int{0, 1, 40, 41, 104, 105, 168, 300, 1000, 1500, maxPayload(MinSize)} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			x := newPair(t, MinSize)
			// Steps of one line move the records over every offset.
			for range 3 * MinSize / line {
				x.send(1, size)
				x.receive(size)
				x.send(1, 0)
				x.receive(0)
			}
			x.empty()
		})
	}
}

func TestNothingIsVisibleBeforeFlush(t *testing.T) {
	x := newPair(t, MinSize)
	vs := x.claim(3, 100)
	x.empty()
	x.commit(vs[:1])
	x.empty()
	x.commit(vs[1:])
	x.empty()
	x.flush()
	x.receive(100, 100, 100)
	x.flush() // of nothing
	x.empty()
	if s := x.p.Stats(); s.Flushes != 1 {
		t.Errorf("%d batches published, want 1", s.Flushes)
	}
}

func TestFlushWithClaimsOutstanding(t *testing.T) {
	for round := range 100 { // over many offsets, with and without padding
		x := newPair(t, MinSize)
		for range round {
			x.send(1, 0)
			x.receive(0)
		}
		vs := x.claim(3, 500)
		// The places hold what a reader must not mistake for records.
		for _, v := range vs {
			for i := range v.Payload {
				v.Payload[i] = 0xff
			}
		}
		x.commit(vs[:1])
		x.flush()
		x.receive(500)
		x.empty()
		x.commit(vs[1:2])
		x.flush()
		x.receive(500)
		x.empty()
		if round%2 == 0 {
			x.p.Abort()
			x.empty()
			x.send(2, 10)
			x.receive(10, 10)
		} else {
			x.commit(vs[2:])
			x.flush()
			x.receive(500)
		}
		x.empty()
	}
}

func TestBatchClaims(t *testing.T) {
	for _, size := range []int{0, 40, 41, 100, 1000} {
		for batch := 1; batch <= 70; batch += 3 {
			t.Run(fmt.Sprintf("%d × %d bytes", batch, size), func(t *testing.T) {
				x := newPair(t, MinSize)
				vs, in := make([]wire.Vesicle, batch), make([]wire.Vesicle, batch)
				for range 60 {
					n, err := x.p.Claim(vs, size)
					if err != nil || n == 0 {
						t.Fatalf("Claim of an empty ring = %d, %v", n, err)
					}
					x.commit(vs[:n])
					x.flush()
					got, err := x.c.Poll(in)
					if err != nil || got != n {
						t.Fatalf("Poll = %d, %v, want %d", got, err, n)
					}
					for _, v := range in[:got] {
						x.check(v, size)
					}
					x.release(got)
				}
			})
		}
	}
}

func TestFullAndOn(t *testing.T) {
	for _, size := range []int{0, 40, 41, 700, maxPayload(MinSize)} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			x := newPair(t, MinSize)
			for range 20 {
				filled := 0
				for {
					vs := make([]wire.Vesicle, 1)
					n, err := x.p.Claim(vs, size)
					if err != nil {
						wants(t, "Claim", err, ErrFull)
						break
					}
					x.commit(vs[:n])
					filled++
				}
				if least := max(1, (MinSize-line)/2/int(spanOf(size))); filled < least {
					t.Fatalf("full after %d records of %d bytes", filled, size)
				}
				x.flush()
				x.receive(repeat(size, filled)...)
			}
			if x.p.Stats().Full != 20 {
				t.Errorf("Stats.Full = %d, want 20", x.p.Stats().Full)
			}
		})
	}
}

// With n < len(out) the ring is full after n, and those n are good.
func TestClaimOfMoreThanFits(t *testing.T) {
	x := newPair(t, MinSize)
	vs := make([]wire.Vesicle, 1000)
	for range 10 {
		n, err := x.p.Claim(vs, 40)
		if err != nil || n != MinSize/line-1 {
			t.Fatalf("Claim = %d, %v, want %d", n, err, MinSize/line-1)
		}
		again, err := x.p.Claim(vs, 40)
		wants(t, "Claim of a full ring", err, ErrFull)
		if again != 0 {
			t.Fatalf("Claim of a full ring = %d", again)
		}
		x.commit(vs[:n])
		x.flush()
		x.receive(repeat(40, n)...)
	}
	if n, err := x.p.Claim(nil, 40); n != 0 || err != nil {
		t.Errorf("Claim of none = %d, %v", n, err)
	}
}

func TestReleaseInParts(t *testing.T) {
	x := newPair(t, MinSize)
	for range 50 {
		x.send(6, 300)
		first := x.poll(repeat(300, 6)...)
		kept := append([]byte(nil), first[5].Payload...)
		x.release(2)
		if n := x.p.Unread(); n < 4*int(spanOf(300)) || n >= 6*int(spanOf(300)) {
			t.Fatalf("Unread = %d with 4 of 6 records left", x.p.Unread())
		}
		x.send(2, 300) // into what was released
		x.poll(300, 300)
		if string(first[5].Payload) != string(kept) {
			t.Fatal("a payload changed before its release")
		}
		x.release(0)
		x.release(1)
		x.release(5)
		if x.p.Unread() != 0 {
			t.Fatalf("Unread = %d with nothing left", x.p.Unread())
		}
	}
}

func TestPolledRecordsAreBounded(t *testing.T) {
	x := newPair(t, 1<<20)
	x.send(2*maxPolled, 0)
	in := make([]wire.Vesicle, 2*maxPolled)
	n, err := x.c.Poll(in)
	if n != maxPolled || err != nil {
		t.Fatalf("Poll = %d, %v, want %d", n, err, maxPolled)
	}
	x.empty() // though there is more
	x.release(1)
	if n, err = x.c.Poll(in[maxPolled:]); n != 1 || err != nil {
		t.Fatalf("Poll after the release of one = %d, %v", n, err)
	}
	for _, v := range in[:maxPolled+1] {
		if v.Header.Correlation != x.received {
			t.Fatalf("record %d came as %d", v.Header.Correlation, x.received)
		}
		x.received++
	}
	x.release(maxPolled)
	x.receive(repeat(0, maxPolled-1)...)
	x.empty()
}

func TestCounters(t *testing.T) {
	x := newPair(t, MinSize)
	x.send(3, 10)
	vs := x.claim(2, 100)
	vs[1].Payload = vs[1].Payload[:7]
	x.commit(vs)
	x.flush()
	if got, want := x.p.Stats(), (Stats{Records: 5, Bytes: 137, Flushes: 2}); got != want {
		t.Errorf("producer: %+v, want %+v", got, want)
	}
	x.receive(10, 10, 10, 100, 7)
	if got, want := x.c.Stats(), (Stats{Records: 5, Bytes: 137, Flushes: 1}); got != want {
		t.Errorf("consumer: %+v, want %+v", got, want)
	}
}

func TestStop(t *testing.T) {
	for _, v := range []struct {
		name string
		gone bool
		want error
	}{{"closed", false, ErrClosed}, {"peer gone", true, ErrPeerGone}} {
		t.Run(v.name+", producer", func(t *testing.T) {
			x := newPair(t, MinSize)
			vs := x.claim(1, 8)
			inAnother(func() { x.p.Stop(v.gone); x.p.Stop(!v.gone) })
			_, err := x.p.Claim(vs, 8)
			wants(t, "Claim", err, v.want)
			wants(t, "Flush of nothing", x.p.Flush(), v.want)
			if x.p.ArmSpace(8) {
				t.Error("ArmSpace lets a stopped producer sleep")
			}
		})
		t.Run(v.name+", consumer", func(t *testing.T) {
			x := newPair(t, MinSize)
			x.send(2, 8)
			inAnother(func() { x.c.Stop(v.gone); x.c.Stop(!v.gone) })
			if v.gone { // what was published is still polled
				x.receive(8, 8)
			}
			for range 2 {
				n, err := x.c.Poll(make([]wire.Vesicle, 4))
				wants(t, "Poll", err, v.want)
				if n != 0 {
					t.Errorf("Poll = %d records and an error", n)
				}
			}
			if x.c.Arm() {
				t.Error("Arm lets a stopped consumer sleep")
			}
		})
	}
}

func inAnother(f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	<-done
}

func TestRolesAreTakenOnce(t *testing.T) {
	x := newPair(t, MinSize)
	for _, m := range []*Memory{x.near, x.far} {
		_, err := NewProducer(m, nil, nil)
		wants(t, "second producer", err, ErrInUse)
		_, err = NewConsumer(m, nil, nil)
		wants(t, "second consumer", err, ErrInUse)
	}
	x.send(1, 1)
	x.receive(1)
}

func TestRolesOfTheWrongMemory(t *testing.T) {
	m := newMemory(t, Options{Kind: MPSC, Size: MinSize})
	_, err := NewProducer(m, nil, nil)
	wants(t, "producer", err, ErrKind)
	_, err = NewConsumer(m, nil, nil)
	wants(t, "consumer", err, ErrKind)

	used := newMemory(t, Options{Size: MinSize})
	*used.control.u64(offReaderCursor) = line
	_, err = NewProducer(used, nil, nil)
	wants(t, "producer of a used ring", err, ErrCorrupt)

	gone := newMemory(t, Options{Size: MinSize})
	closed(t, gone.Close())
	_, err = NewConsumer(gone, nil, nil)
	wants(t, "consumer of closed memory", err, ErrClosed)
}
