package sched

import (
	"math"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestNowIsTheSystemsMonotonicClock(t *testing.T) {
	read := func() int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return ts.Nano()
	}
	const slack = 50_000 // for an unlucky reading at start; 1 µs is usual
	for range 1000 {
		before, now, after := read(), Now(), read()
		if now < before-slack || now > after+slack {
			t.Fatalf("Now %d is outside %d to %d", now, before, after)
		}
	}
}

func TestTicksDoNotGoBack(t *testing.T) {
	cpu := firstUsable(t)
	onThread(func() {
		if undo, err := Pin(cpu); err == nil {
			defer undo()
		}
		last := Ticks()
		for range 100_000 {
			now := Ticks()
			if int64(now-last) < 0 {
				t.Errorf("%d after %d", now, last)
				return
			}
			last = now
		}
	})
}

func firstUsable(t *testing.T) int {
	t.Helper()
	s, err := Pinned()
	if err != nil {
		t.Fatal(err)
	}
	return s.First()
}

// TestTicksAcrossCores hands a token to and fro between two cores; each reads
// the counter when it has the token.
func TestTicksAcrossCores(t *testing.T) {
	cpus, err := Pinned()
	if err != nil || cpus.Len() < 2 {
		t.Skip("needs two CPUs")
	}
	ids := cpus.List()
	const rounds = 10_000
	tolerance := -int64(NanosToTicks(1000))
	var turn, last atomic.Uint64
	side := func(id int, mine uint64) {
		if undo, err := Pin(id); err == nil {
			defer undo()
		}
		for n := mine; n < 2*rounds; n += 2 {
			for turn.Load() != n {
				Pause()
			}
			now := Ticks()
			if d := int64(now - last.Load()); n > 0 && d < tolerance {
				t.Errorf("the counter went back by %d between CPUs %d and %d", -d, ids[0], ids[1])
			}
			last.Store(now)
			turn.Store(n + 1)
		}
	}
	done := make(chan struct{})
	go func() { onThread(func() { side(ids[1], 1) }); close(done) }()
	onThread(func() { side(ids[0], 0) })
	<-done
}

func TestTicksAgreeWithNow(t *testing.T) {
	Clock() // calibrates
	from := newTickPair()
	time.Sleep(50 * time.Millisecond)
	to := newTickPair()
	want, got := to.nanos-from.nanos, TicksToNanos(to.ticks-from.ticks)
	if diff := math.Abs(float64(got-want)) / float64(want); diff > 1e-3 {
		t.Errorf("%d ns by ticks, %d ns by Now: %.0f ppm apart", got, want, diff*1e6)
	}
}

func TestTicksWithoutACounter(t *testing.T) {
	defer func(ok bool) { counterOK = ok }(counterOK)
	counterOK = false
	for _, read := range []func() uint64{Ticks, TicksRelaxed} {
		before, ticks, after := Now(), read(), Now()
		if int64(ticks) < before || int64(ticks) > after {
			t.Errorf("%d is outside %d to %d", ticks, before, after)
		}
	}
}

// TestTicksWithACounter runs the counter's own path also where the machine's
// clock source speaks against trusting it, as under an emulator.
func TestTicksWithACounter(t *testing.T) {
	defer func(ok bool) { counterOK = ok }(counterOK)
	counterOK = true
	if hz := counterHz(); hz != 0 && hz < 1_000_000 {
		t.Errorf("the counter has %d Hz", hz)
	}
	cpu := firstUsable(t)
	onThread(func() {
		if undo, err := Pin(cpu); err == nil {
			defer undo()
		}
		for _, read := range []func() uint64{Ticks, TicksRelaxed} {
			first := read()
			for i := 0; read() == first; i++ {
				if i > 10_000_000 {
					t.Error("the counter stands still")
					return
				}
			}
			if d := int64(read() - first); d <= 0 {
				t.Errorf("the counter advanced by %d", d)
			}
		}
	})
}

func TestTickConversion(t *testing.T) {
	Clock()
	defer nanosPerTick.Store(nanosPerTick.Load())
	for _, c := range []struct {
		name  string
		rate  uint64 // nanoseconds a tick × 2³²
		ticks uint64
		nanos int64
	}{
		{"no counter", 1 << 32, 12345, 12345},
		{"2.5 GHz", 1 << 32 * 2 / 5, 2_500_000_001, 1_000_000_000},
		{"24 MHz", 1 << 32 * 125 / 3, 24, 999},
		{"1 GHz, a hundred years", 1 << 32, 3_155_760_000e9, 3_155_760_000e9},
		{"backward", 1 << 32, ^uint64(0), -1},
		{"backward at 2.5 GHz", 1 << 32 * 2 / 5, ^uint64(250), -100},
		{"none", 1 << 32, 0, 0},
	} {
		nanosPerTick.Store(c.rate)
		if got := TicksToNanos(c.ticks); got != c.nanos {
			t.Errorf("%s: %d ticks are %d ns, want %d", c.name, c.ticks, got, c.nanos)
		}
		if c.nanos <= 0 {
			if got := NanosToTicks(c.nanos); got != 0 {
				t.Errorf("%s: %d ns are %d ticks, want 0", c.name, c.nanos, got)
			}
			continue
		}
		// There and back loses at most a tick and a nanosecond.
		if got := TicksToNanos(NanosToTicks(c.nanos)); c.nanos-got > int64(c.rate>>32)+1 || got > c.nanos {
			t.Errorf("%s: %d ns there and back are %d", c.name, c.nanos, got)
		}
	}
	nanosPerTick.Store(1 << 31) // 2 GHz: more ticks than nanoseconds
	if got := NanosToTicks(math.MaxInt64); got != math.MaxInt64*2 {
		t.Errorf("the longest time at 2 GHz is %d ticks", got)
	}
	nanosPerTick.Store(1 << 29)
	if got := NanosToTicks(math.MaxInt64); got != math.MaxUint64 {
		t.Errorf("beyond the counter's range: %d", got)
	}
}

func TestClock(t *testing.T) {
	c := Clock()
	if c.Hz < 1e6 || c.StepNanos <= 0 || c.CostNanos <= 0 || (c.Source == "monotonic") == (c.Why == "") {
		t.Errorf("%+v", c)
	}
	t.Logf("%+v", c)
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	Clock()
	var g gapCounter
	g.least = NanosToTicks(1000)
	for name, f := range map[string]func(){
		"Now": func() { Now() }, "Ticks": func() { Ticks() }, "TicksRelaxed": func() { TicksRelaxed() },
		"TicksToNanos": func() { TicksToNanos(1000) }, "NanosToTicks": func() { NanosToTicks(1000) },
		"Pause": Pause, "Gaps": func() { g.spin(TicksRelaxed(), TicksRelaxed()+1000) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

var sink uint64 // keeps benchmarks from being optimised away

func BenchmarkTimeNow(b *testing.B) {
	for b.Loop() {
		sink += uint64(time.Now().Nanosecond())
	}
}

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		sink += uint64(Now())
	}
}

func BenchmarkTicks(b *testing.B) {
	for b.Loop() {
		sink += Ticks()
	}
}

func BenchmarkTicksRelaxed(b *testing.B) {
	for b.Loop() {
		sink += TicksRelaxed()
	}
}

func BenchmarkTicksToNanos(b *testing.B) {
	for b.Loop() {
		sink += uint64(TicksToNanos(sink | 1))
	}
}

func BenchmarkPause(b *testing.B) {
	for b.Loop() {
		Pause()
	}
}
