package xsk

import (
	"sync"
	"testing"
)

// pair returns the two ends of a ring in ordinary memory: a writer, and a
// reader as the kernel would be.
func pair(size, start uint32) (w, r ring) {
	var producer, consumer, flags uint32 = start, start, 0
	w = ring{producer: &producer, consumer: &consumer, flags: &flags, size: size, mask: size - 1, own: start, other: start}
	return w, w
}

func TestRingCounters(t *testing.T) {
	for _, c := range []struct {
		name  string
		start uint32
	}{{"at zero", 0}, {"where counters wrap", ^uint32(0) - 5}} {
		t.Run(c.name, func(t *testing.T) {
			w, r := pair(8, c.start)
			addresses := make([]uint64, 8)
			fill, completion := Fill{w, addresses}, Completion{r, addresses}
			sent, got := uint64(0), uint64(0)
			var in, out [16]uint64
			for round := range 200 {
				want := round%11 + 1
				for i := range want {
					out[i] = sent + uint64(i)
				}
				n := fill.Put(out[:want])
				if held := int(sent - got); n != min(want, 8-held) {
					t.Fatalf("round %d: Put took %d of %d with %d held", round, n, want, held)
				}
				sent += uint64(n)
				k := completion.Take(in[:round%7+1])
				// It looks again only when it knows of none.
				if held := int(sent - got); k > min(round%7+1, held) || k == 0 && held > 0 {
					t.Fatalf("round %d: Take gave %d of %d", round, k, sent-got)
				}
				for _, a := range in[:k] {
					if a != got {
						t.Fatalf("%d, want %d", a, got)
					}
					got++
				}
			}
		})
	}
}

func TestRingsOfDescriptors(t *testing.T) {
	w, r := pair(4, ^uint32(0)-1)
	entries := make([]Desc, 4)
	tx, rx := Tx{w, entries}, Rx{r, entries}
	var ds [5]Desc
	for i := range ds {
		ds[i] = Desc{Address: uint64(i) << 11, Length: uint32(i), Options: OptionContinued}
	}
	if n := tx.Put(ds[:]); n != 4 || tx.Pending() != 4 {
		t.Errorf("%d taken, %d pending", n, tx.Pending())
	}
	var got [5]Desc
	if n := rx.Take(got[:]); n != 4 || got[3] != ds[3] || tx.Pending() != 0 {
		t.Errorf("%d: %v, %d pending", n, got, tx.Pending())
	}
	if rx.Take(got[:]) != 0 {
		t.Error("an empty ring has something")
	}
	if tx.NeedsWakeup() {
		t.Error("wants to be woken")
	}
	*tx.flags = ringNeedWakeup
	if !tx.NeedsWakeup() {
		t.Error("does not want to be woken")
	}
}

// A counter that claims more than the ring holds must not have entries read
// twice over.
func TestRingBelievesNoImpossibleCounter(t *testing.T) {
	_, r := pair(4, 0)
	c := Completion{r, make([]uint64, 4)}
	*c.producer = 1 << 30
	var in [16]uint64
	if n := c.Take(in[:]); n > 4 {
		t.Errorf("%d entries of 4", n)
	}
}

// Two threads, so that the race detector sees what orders them.
func TestRingBetweenThreads(t *testing.T) {
	w, r := pair(64, 0)
	addresses := make([]uint64, 64)
	fill, completion := Fill{w, addresses}, Completion{r, addresses}
	const most = 100_000
	var wg sync.WaitGroup
	wg.Go(func() {
		var out [16]uint64
		for next := uint64(0); next < most; {
			n := min(16, most-next)
			for i := range n {
				out[i] = next + i
			}
			next += uint64(fill.Put(out[:n]))
		}
	})
	var in [16]uint64
	for next := uint64(0); next < most; {
		for _, a := range in[:completion.Take(in[:])] {
			if a != next {
				t.Errorf("%d, want %d", a, next)
				next = most
				break
			}
			next++
		}
	}
	wg.Wait()
}

func TestRingsDoNotAllocate(t *testing.T) {
	w, r := pair(64, 0)
	entries := make([]Desc, 64)
	tx, rx := Tx{w, entries}, Rx{r, entries}
	var ds [32]Desc
	if n := testing.AllocsPerRun(100, func() {
		tx.Put(ds[:])
		rx.Take(ds[:])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
