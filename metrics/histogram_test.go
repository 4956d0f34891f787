package metrics

import (
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
)

func TestHistogramFigures(t *testing.T) {
	h := must(NewHistogram(HistogramOptions{}))
	for v := int64(1); v <= 1000; v++ {
		h.Record(v)
	}
	s := h.Snapshot().Summary()
	want := Summary{
		Count: 1000, Min: 1, Max: 1000, Mean: s.Mean, StdDev: s.StdDev,
		P50: 500, P90: 900, P99: 990, P999: 999, P9999: 1000, P99999: 1000,
	}
	if s != want {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	// Buckets are one wide up to 2047, so nothing is rounded.
	if math.Abs(s.Mean-500.5) > 1e-9 {
		t.Errorf("mean %v, want 500.5", s.Mean)
	}
	if math.Abs(s.StdDev-288.67) > 0.1 {
		t.Errorf("standard deviation %v, want 288.67", s.StdDev)
	}
}

func TestHistogramEmpty(t *testing.T) {
	d := must(NewHistogram(HistogramOptions{Lowest: 100})).Snapshot()
	if s := d.Summary(); s != (Summary{}) {
		t.Errorf("summary of nothing: %+v", s)
	}
	if p := d.Points(5); len(p) != 0 {
		t.Errorf("points of nothing: %v", p)
	}
}

func TestHistogramOutOfRange(t *testing.T) {
	for _, c := range []struct {
		name     string
		record   []int64
		min, max int64
		clipped  uint64
	}{
		{"above the last bucket keeps its maximum", []int64{5, 1e15}, 5, 1e15, 1},
		{"negative counts as zero", []int64{-7, 5}, 0, 5, 1},
		{"most negative", []int64{math.MinInt64}, 0, 0, 1},
		{"greatest", []int64{math.MaxInt64}, math.MaxInt64, math.MaxInt64, 1},
		{"highest itself is in range", []int64{1e9}, 1e9, 1e9, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := must(NewHistogram(HistogramOptions{Highest: 1e9}))
			for _, v := range c.record {
				h.Record(v)
			}
			d := h.Snapshot()
			if d.Count() != uint64(len(c.record)) {
				t.Errorf("count %d: a value was lost", d.Count())
			}
			// The least value may be in the last bucket too; then its edge is
			// all that is known.
			if d.Max() != c.max || d.Clipped() != c.clipped || (d.Min() != c.min && c.min != math.MaxInt64) {
				t.Errorf("min %d max %d clipped %d, want %d %d %d", d.Min(), d.Max(), d.Clipped(), c.min, c.max, c.clipped)
			}
		})
	}
}

func TestHistogramRecordN(t *testing.T) {
	h := must(NewHistogram(HistogramOptions{}))
	h.RecordN(7, 3)
	h.RecordN(1_000_000, 0)
	d := h.Snapshot()
	if d.Count() != 3 || d.Max() != 7 {
		t.Errorf("count %d max %d, want 3 and 7", d.Count(), d.Max())
	}
	if got := slices.Collect(d.Buckets()); !slices.Equal(got, []Bucket{{7, 7, 3}}) {
		t.Errorf("buckets %v", got)
	}
}

func TestHistogramResetBeginsAnEpoch(t *testing.T) {
	h := must(NewHistogram(HistogramOptions{}))
	h.Record(1000)
	before := h.Snapshot()
	h.Reset()
	if d := h.Snapshot(); d.Count() != 0 || d.Epoch() == before.Epoch() || d.Max() != 0 || d.Clipped() != 0 {
		t.Fatalf("after reset: %+v", d.Summary())
	}
	h.Record(5)
	d := h.Snapshot()
	if err := d.Sub(before); err != nil {
		t.Fatal(err)
	}
	if d.Count() != 1 || d.Min() != 5 || d.Max() != 5 {
		t.Errorf("difference across a reset: %+v; what came after must stay", d.Summary())
	}
}

func TestHistogramMerge(t *testing.T) {
	a, b := must(NewHistogram(HistogramOptions{})), must(NewHistogram(HistogramOptions{}))
	a.Record(10)
	b.Record(3)
	b.Record(5_000_003)
	d := a.Snapshot()
	if err := d.Merge(b.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if d.Count() != 3 || d.Min() != 3 || d.Max() != 5_000_003 {
		t.Errorf("merged: %+v", d.Summary())
	}
	empty := must(NewHistogram(HistogramOptions{})).Snapshot()
	if err := empty.Merge(d); err != nil || empty.Min() != 3 || empty.Max() != 5_000_003 {
		t.Errorf("into an empty one: %+v, %v", empty.Summary(), err)
	}
	if err := d.Merge(must(NewHistogram(HistogramOptions{Digits: 2})).Snapshot()); !errors.Is(err, ErrLayout) {
		t.Errorf("other digits: %v, want ErrLayout", err)
	}
	full := must(NewDistribution(HistogramOptions{}, []uint64{math.MaxInt64}))
	if err := d.Merge(full); !errors.Is(err, ErrInvalid) || d.Count() != 3 {
		t.Errorf("overflow: %v, count %d; want ErrInvalid and no change", err, d.Count())
	}
}

func TestHistogramSub(t *testing.T) {
	h := must(NewHistogram(HistogramOptions{}))
	h.Record(10)
	h.Record(1_000_000)
	earlier := h.Snapshot()
	h.Record(500)
	h.Record(600)
	d := h.Snapshot()
	if err := d.Sub(earlier); err != nil {
		t.Fatal(err)
	}
	if d.Count() != 2 || d.Min() != 500 || d.Max() != 600 {
		t.Errorf("difference: %+v", d.Summary())
	}
	if err := earlier.Clone().Sub(h.Snapshot()); !errors.Is(err, ErrNotEarlier) {
		t.Errorf("later from earlier: %v, want ErrNotEarlier", err)
	}
	if err := d.Sub(d.Clone()); err != nil || d.Summary() != (Summary{}) {
		t.Errorf("itself from itself: %+v, %v", d.Summary(), err)
	}
}

func TestNewDistributionRefuses(t *testing.T) {
	b := must(newBuckets(HistogramOptions{}))
	for name, c := range map[string]struct {
		counts []uint64
		want   error
	}{
		"a count beyond the buckets": {append(make([]uint64, b.n), 1), ErrLayout},
		"a count beyond 2^63":        {[]uint64{1 << 63}, ErrCorrupt},
		"a total beyond 2^63":        {[]uint64{1 << 62, 1 << 62}, ErrCorrupt},
	} {
		if _, err := NewDistribution(HistogramOptions{}, c.counts); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// Extremes that don't fit the counts come from a reader that overtook the
// writer; the buckets win.
func TestExtremesFitTheCounts(t *testing.T) {
	b := must(newBuckets(HistogramOptions{}))
	counts := make([]uint64, b.n)
	counts[b.index(10_000)], counts[b.index(20_000)] = 1, 1
	lowEdge, _ := b.bounds(int(b.index(10_000)))
	_, highEdge := b.bounds(int(b.index(20_000)))
	for _, c := range []struct {
		name             string
		min, max         uint64
		wantMin, wantMax int64
	}{
		{"exact", 10_000, 20_000, 10_000, 20_000},
		{"newer than the counts", 5, 90_000, lowEdge, highEdge},
		{"older than the counts", 15_000, 15_000, lowEdge, highEdge},
		{"not yet set", math.MaxInt64, 0, lowEdge, highEdge},
		{"garbage", 1 << 63, 1 << 63, lowEdge, highEdge},
	} {
		head := [histHead]uint64{histMin: c.min, histMax: c.max}
		d := must(newDistribution(b, slices.Clone(counts), &head))
		if d.Min() != c.wantMin || d.Max() != c.wantMax {
			t.Errorf("%s: %d to %d, want %d to %d", c.name, d.Min(), d.Max(), c.wantMin, c.wantMax)
		}
	}
}

// Rounding to 100 % before the end must not make the plot endless.
func TestPointsOfHugeCountsEnd(t *testing.T) {
	counts := make([]uint64, 4000)
	counts[10], counts[20], counts[3000] = 1<<62, 5, 1
	d := must(NewDistribution(HistogramOptions{}, counts))
	for _, ticks := range []int{-1, 0, 1, 5, 100, math.MaxInt} {
		p := d.Points(ticks)
		if last := p[len(p)-1]; last.Percentile != 100 || last.Count != d.Count() {
			t.Errorf("%d ticks: last point %+v", ticks, last)
		}
		if len(p) > 100*128 {
			t.Errorf("%d ticks: %d points", ticks, len(p))
		}
	}
}

func TestHistogramReadWhileWritten(t *testing.T) {
	const n = 200_000
	h := must(NewHistogram(HistogramOptions{Digits: 2}))
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range int64(n) {
			h.Record(i)
		}
	})
	last := h.Snapshot()
	for last.Count() < n {
		d := h.Snapshot()
		delta := d.Clone()
		if err := delta.Sub(last); err != nil {
			t.Fatalf("a later snapshot lacks what an earlier had: %v", err)
		}
		if d.Count() > 0 && d.Percentile(100) < d.Max() {
			t.Fatalf("p100 %d below max %d", d.Percentile(100), d.Max())
		}
		last = d
	}
	wg.Wait()
	last = h.Snapshot() // not every machine shows the extremes with the counts
	if last.Min() != 0 || last.Max() != n-1 {
		t.Errorf("%d to %d, want 0 to %d", last.Min(), last.Max(), n-1)
	}
}

func TestResetWhileRead(t *testing.T) {
	h := must(NewHistogram(HistogramOptions{Digits: 1, Highest: 1e6}))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			// A snapshot within one epoch never has more than these.
			for v := range int64(16) {
				h.Record(v)
			}
			h.Reset()
		}
	})
	for range 2000 {
		if d := h.Snapshot(); d.Count() > 16 {
			t.Fatalf("%d values from two epochs in one snapshot", d.Count())
		}
	}
	close(stop)
	wg.Wait()
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	f := must(Anonymous(Options{}))
	h := must(f.Histogram("h", "", "", HistogramOptions{}))
	w := must(f.Writer("w"))
	c, g := must(w.Counter("c", "", "")), must(w.Gauge("g", "", ""))
	s := must(f.SharedCounter("s", "", ""))
	i := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		i += 1 << 33
		h.Record(i)
		h.Record(-i)
		h.RecordN(1, 2)
		c.Inc()
		g.Set(i)
		g.Add(-1)
		s.Inc()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
