package engine

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The wheel is held against a sorted list, over spans that reach every level.
func TestWheelAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var w wheel
		w.init()
		now := random.Uint64N(1 << 40)
		w.elapsed = now
		timers := make([]*Timer, 0, 64)
		for range 64 {
			tm := &Timer{}
			tick := now + 1 + random.Uint64N(1<<random.UintN(wheelBits*wheelLevels+2))
			w.insert(tm, tick)
			timers = append(timers, tm)
		}
		for range 16 {
			i := random.IntN(len(timers))
			w.remove(timers[i])
			timers = slices.Delete(timers, i, i+1)
		}
		slices.SortStableFunc(timers, func(a, b *Timer) int { return int(int64(a.tick - b.tick)) })
		for len(timers) > 0 {
			if w.next > int64(timers[0].tick<<tickShift) {
				t.Fatalf("would look again at tick %d, but %d is due", w.next>>tickShift, timers[0].tick)
			}
			now = max(now, uint64(w.next)>>tickShift) + random.Uint64N(1+1<<random.UintN(20))
			w.advance(now)
			for len(timers) > 0 && timers[0].tick <= now {
				got := w.due.first
				if got == nil || got.tick != timers[0].tick {
					t.Fatalf("at %d: got %+v, want tick %d", now, got, timers[0].tick)
				}
				timers = timers[1:]
				// Ties may come in any order; the model has them stable.
				w.remove(got)
			}
			if w.due.first != nil {
				t.Fatalf("at %d: tick %d is early", now, w.due.first.tick)
			}
			w.advance(now)
		}
		if w.next != math.MaxInt64 || w.occupied != [wheelLevels]uint64{} {
			t.Fatalf("empty, but next %d, occupied %x", w.next, w.occupied)
		}
	}
}

func TestWheelBeyondItsReach(t *testing.T) {
	var w wheel
	w.init()
	w.elapsed = 12345
	tm := &Timer{}
	at := w.elapsed + 3*wheelReach + 17
	w.insert(tm, at)
	for rounds := 0; w.due.first == nil; rounds++ {
		if rounds > 64 {
			t.Fatal("never due")
		}
		w.advance(uint64(w.next) >> tickShift)
	}
	if w.elapsed != at {
		t.Errorf("due at %d, want %d", w.elapsed, at)
	}
}
