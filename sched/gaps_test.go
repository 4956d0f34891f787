package sched

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"
)

func TestGapCounter(t *testing.T) {
	g := gapCounter{least: 100}
	for i := range g.limits {
		g.limits[i] = uint64(i+1) * 1000
	}
	for _, gap := range []uint64{100, 1000, 1001, 4500, 9000, math.MaxUint64 /* a step back by one */} {
		g.record(gap)
	}
	if g.count != 5 || g.backward != 1 || g.longest != 9000 || g.stolen != 15601 {
		t.Errorf("%+v", g)
	}
	if want := [len(GapLimits)]uint64{3, 2, 2, 2, 1}; g.over != want {
		t.Errorf("over %v, want %v", g.over, want)
	}
}

func TestGaps(t *testing.T) {
	cpu := firstUsable(t)
	onThread(func() {
		if undo, err := Pin(cpu); err == nil {
			defer undo()
		}
		const d = 20 * time.Millisecond
		r := Gaps(context.Background(), d, time.Microsecond)
		if r.Elapsed < d || r.Readings == 0 || r.Stolen > r.Elapsed || r.StolenShare > 1 || r.Longest > r.Stolen {
			t.Errorf("%+v", r)
		}
		for i := 1; i < len(r.Over); i++ {
			if r.Over[i] > r.Over[i-1] || r.Over[0] > r.Count {
				t.Errorf("%+v", r)
			}
		}
		if !strings.Contains(r.String(), "over   10µs") {
			t.Error(r)
		}
	})
}

func TestGapsEnds(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	soon, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		d    time.Duration
	}{
		{"cancelled before", cancelled, time.Hour},
		{"cancelled meanwhile", soon, math.MaxInt64},
		{"no time at all", context.Background(), 0},
		{"negative time", context.Background(), -time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := Gaps(c.ctx, c.d, time.Microsecond); r.Elapsed > time.Minute || r.Elapsed < 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestGapsSeesAStall makes a gap on purpose: a sleep between two spins.
func TestGapsSeesAStall(t *testing.T) {
	Clock()
	g := gapCounter{least: NanosToTicks(1000)}
	last := g.spin(TicksRelaxed(), math.MaxUint64>>1+TicksRelaxed())
	time.Sleep(2 * time.Millisecond)
	g.spin(last, math.MaxUint64>>1+TicksRelaxed())
	if TicksToNanos(g.longest) < 1_900_000 {
		t.Errorf("the longest gap is %d ns", TicksToNanos(g.longest))
	}
}
