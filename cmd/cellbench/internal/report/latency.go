package report

import (
	"math"
	"slices"
)

// Latency is a summary of times, all in nanoseconds. A percentile is nil where
// there were too few samples for one of them to lie above it: p99.9 needs a
// thousand. Over several rounds see [Combine].
type Latency struct {
	Min    float64  `json:"min"`
	P50    *float64 `json:"p50"`
	P90    *float64 `json:"p90"`
	P99    *float64 `json:"p99"`
	P999   *float64 `json:"p99_9"`
	P9999  *float64 `json:"p99_99"`
	P99999 *float64 `json:"p99_999"`
	Max    float64  `json:"max"`
	Mean   float64  `json:"mean"`
}

// Point is one point of a latency distribution: the part Q of all samples,
// 0 ≤ Q < 1, took at most NS nanoseconds. Low and High are the least and the
// greatest such value among the rounds, absent for a single round.
type Point struct {
	Q    float64 `json:"q"`
	NS   float64 `json:"ns"`
	Low  float64 `json:"low,omitempty"`
	High float64 `json:"high,omitempty"`
}

// named are the quantiles that have fields in Latency, in their order.
var named = []float64{0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999}

// grid is where curves are sampled: ten points for each nine, evenly spaced
// on the axis of the plot, and the named quantiles exactly.
var grid = makeGrid()

func makeGrid() []float64 {
	const perNine, nines = 10, 7
	var g []float64
	for j := range perNine*nines + 1 {
		if j == 3 { // 0.49881: the median is asked for instead
			g = append(g, 0.5)
			continue
		}
		tail := math.Pow(10, -float64(j)/perNine)
		g = append(g, math.Round((1-tail)*1e9)/1e9)
	}
	return g
}

// resolvable says whether n samples put at least one above the quantile q.
func resolvable(q float64, n uint64) bool {
	return float64(n)*(1-q) >= 1-1e-6
}

// fields returns where the named percentiles lie.
func (l *Latency) fields() []**float64 {
	return []**float64{&l.P50, &l.P90, &l.P99, &l.P999, &l.P9999, &l.P99999}
}

// Latency summarizes d; nil if d is empty.
func (d Distribution) Latency() *Latency {
	n := d.Count()
	if n == 0 {
		return nil
	}
	l := &Latency{Mean: d.Mean()}
	l.Min, l.Max = d.Bounds()
	values := d.quantiles(named)
	for i, f := range l.fields() {
		if resolvable(named[i], n) {
			*f = new(values[i])
		}
	}
	return l
}

// Percentiles returns the curve of d: up to 71 points, as far as the samples
// reach.
func (d Distribution) Percentiles() []Point {
	n := d.Count()
	if n == 0 {
		return nil
	}
	var ps []Point
	for i, v := range d.quantiles(grid) {
		if !resolvable(grid[i], n) {
			break
		}
		ps = append(ps, Point{Q: grid[i], NS: v})
	}
	return ps
}

// medianLatency combines the rounds' summaries: medians, the least Min and the
// greatest Max. It is nil where a round has none.
func medianLatency(ls []*Latency) *Latency {
	if len(ls) == 0 || slices.Contains(ls, nil) {
		return nil
	}
	out := &Latency{Min: ls[0].Min, Max: ls[0].Max}
	means := make([]float64, 0, len(ls))
	for _, l := range ls {
		out.Min, out.Max = min(out.Min, l.Min), max(out.Max, l.Max)
		means = append(means, l.Mean)
	}
	out.Mean = median(means)
	for i, f := range out.fields() {
		*f = rangeOf(len(ls), func(r int) *float64 { return *ls[r].fields()[i] }).medianOrNil()
	}
	return out
}

// extend takes percentiles that l lacks, and all's samples reach, from all.
func (l *Latency) extend(all *Latency) {
	if l == nil || all == nil {
		return
	}
	last := l.Min
	rest := all.fields()
	for i, f := range l.fields() {
		if *f == nil && *rest[i] != nil {
			// Medians and a merged distribution are different summaries, so
			// that they rise together is only nearly certain.
			*f = new(max(**rest[i], last))
		}
		if *f != nil {
			last = **f
		}
	}
}

// medianPoints combines the rounds' curves as far as all of them reach.
func medianPoints(rounds [][]Point) []Point {
	if len(rounds) == 0 {
		return nil
	}
	if len(rounds) == 1 {
		return rounds[0]
	}
	n := len(rounds[0])
	for _, r := range rounds {
		n = min(n, len(r))
	}
	out := make([]Point, n)
	for i := range out {
		r := rangeOf(len(rounds), func(k int) *float64 { return &rounds[k][i].NS })
		out[i] = Point{Q: rounds[0][i].Q, NS: r.Median, Low: r.Min, High: r.Max}
	}
	return out
}
