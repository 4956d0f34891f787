package metrics

import (
	"math"
	"slices"
)

// Min returns the least value, or 0 if there is none.
func (d *Distribution) Min() int64 { return d.min }

// Max returns the greatest value, or 0 if there is none. It is exact, where
// HdrHistogram's is the upper edge of its bucket; see [Distribution.Sub] for
// the exception.
func (d *Distribution) Max() int64 { return d.max }

// Mean returns the arithmetic mean, taking each value as the middle of its
// bucket as HdrHistogram does, or 0 if there is none.
func (d *Distribution) Mean() float64 {
	var mean float64
	for i, c := range d.counts {
		if c != 0 {
			mean += float64(c) * float64(d.b.median(i)) / float64(d.total)
		}
	}
	return mean
}

// StdDev returns the standard deviation, computed like [Distribution.Mean].
func (d *Distribution) StdDev() float64 {
	mean, variance := d.Mean(), 0.0
	for i, c := range d.counts {
		if c != 0 {
			dev := float64(d.b.median(i)) - mean
			variance += dev * dev * float64(c) / float64(d.total)
		}
	}
	return math.Sqrt(variance)
}

// Percentile returns the value below or at which p percent of all values lie,
// p from 0 to 100: the upper edge of the bucket in which that value is, or the
// lower edge for 0. It equals hdrhistogram-go's ValueAtPercentile, so it may
// exceed [Distribution.Max] by less than a bucket. 0 if there is no value.
func (d *Distribution) Percentile(p float64) int64 {
	if d.total == 0 {
		return 0
	}
	rank, seen := d.rank(p), uint64(0)
	for i, c := range d.counts {
		if seen += c; seen >= rank {
			low, high := d.b.bounds(i)
			if p <= 0 {
				return low
			}
			return high
		}
	}
	return d.max // unreachable: rank is at most total
}

// rank returns the ordinal, from 1, of the value at percentile p, rounded as
// hdrhistogram-go rounds it.
func (d *Distribution) rank(p float64) uint64 {
	total := float64(d.total)
	r := min(p, 100)/100*total + 0.5
	switch {
	case !(r >= 1): // also NaN
		return 1
	case r >= total:
		return d.total
	}
	return uint64(r)
}

// Summary is what a table shows of a distribution, in its unit.
type Summary struct {
	Count  uint64  `json:"count"`
	Min    int64   `json:"min"`
	Max    int64   `json:"max"`
	Mean   float64 `json:"mean"`
	StdDev float64 `json:"std_dev"`

	// Percentiles, each at most Max: a bucket's upper edge may lie above the
	// greatest value that was recorded.
	P50    int64 `json:"p50"`
	P90    int64 `json:"p90"`
	P99    int64 `json:"p99"`
	P999   int64 `json:"p999"`
	P9999  int64 `json:"p9999"`
	P99999 int64 `json:"p99999"`
}

// Summary computes the usual figures.
func (d *Distribution) Summary() Summary {
	p := func(p float64) int64 { return min(d.Percentile(p), d.max) }
	return Summary{
		Count: d.total, Min: d.min, Max: d.max, Mean: d.Mean(), StdDev: d.StdDev(),
		P50: p(50), P90: p(90), P99: p(99), P999: p(99.9), P9999: p(99.99), P99999: p(99.999),
	}
}

// Point is one step of a cumulative distribution.
type Point struct {
	Percentile float64 // 0 to 100
	Value      int64   // upper edge of the bucket that reaches it
	Count      uint64  // values up to and in that bucket
}

// Points returns the cumulative distribution for a percentile plot: ticks
// points for every halving of the distance to 100 %, as in HdrHistogram's
// .hgrm files. 5 is usual; it is held to 1 to 100. The last point is 100 %.
// Empty if there is no value.
func (d *Distribution) Points(ticks int) []Point {
	ticks = min(max(ticks, 1), 100)
	var points []Point
	next, seen := 0.0, uint64(0)
	for i, c := range d.counts {
		if c == 0 {
			continue
		}
		seen += c
		reached := 100 * float64(seen) / float64(d.total)
		_, high := d.b.bounds(i)
		for next <= reached {
			points = append(points, Point{Percentile: next, Value: high, Count: seen})
			half := math.Trunc(math.Pow(2, math.Trunc(math.Log2(100/(100-next)))+1))
			step := 100 / (float64(ticks) * half)
			if next += step; seen == d.total {
				break
			}
			// With more than 2^53 values reached rounds to 100 before the
			// end, and next would creep towards it for ever.
			if next+step == next || next >= 100 {
				next = math.Inf(1)
			}
		}
	}
	if d.total != 0 {
		last := points[len(points)-1]
		last.Percentile, last.Count = 100, d.total
		_, last.Value = d.b.bounds(d.top())
		points = append(points, last)
	}
	return slices.Clip(points)
}
