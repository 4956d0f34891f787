package report

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrDistribution: a Distribution whose lengths differ, or whose values don't
// rise, are negative or not finite.
var ErrDistribution = errors.New("not a distribution")

// Distribution is a histogram in its simplest form, so that this package needs
// no particular recorder: Counts[i] samples had the value Values[i], in
// nanoseconds. Values rise strictly. The zero Distribution is empty.
type Distribution struct {
	Values []float64
	Counts []uint64
}

// FromSamples makes a Distribution of single samples, in nanoseconds, in any
// order. It sorts the slice it is given.
func FromSamples(ns []float64) Distribution {
	slices.Sort(ns)
	var d Distribution
	for _, v := range ns {
		if n := len(d.Values); n > 0 && d.Values[n-1] == v {
			d.Counts[n-1]++
			continue
		}
		d.Values = append(d.Values, v)
		d.Counts = append(d.Counts, 1)
	}
	return d
}

// Check returns an error wrapping ErrDistribution unless d is well formed.
func (d Distribution) Check() error {
	if len(d.Values) != len(d.Counts) {
		return fmt.Errorf("%w: %d values but %d counts", ErrDistribution, len(d.Values), len(d.Counts))
	}
	last := -1.0
	for i, v := range d.Values {
		if !(v > last) || math.IsInf(v, 0) {
			return fmt.Errorf("%w: value %d is %v after %v; values must rise from 0", ErrDistribution, i, v, last)
		}
		last = v
	}
	return nil
}

// Count returns how many samples there are.
func (d Distribution) Count() uint64 {
	var n uint64
	for _, c := range d.Counts {
		n += c
	}
	return n
}

// Mean returns the average, NaN if d is empty.
func (d Distribution) Mean() float64 {
	var sum float64
	for i, c := range d.Counts {
		sum += d.Values[i] * float64(c)
	}
	return sum / float64(d.Count())
}

// Bounds returns the least and the greatest value that occurred, NaN if d is
// empty.
func (d Distribution) Bounds() (least, most float64) {
	least, most = math.NaN(), math.NaN()
	for i, c := range d.Counts {
		if c == 0 {
			continue
		}
		if math.IsNaN(least) {
			least = d.Values[i]
		}
		most = d.Values[i]
	}
	return least, most
}

// quantiles returns, for each of the rising quantiles qs, the least value
// that at least that part of the samples doesn't exceed (as HdrHistogram
// does). d must not be empty.
func (d Distribution) quantiles(qs []float64) []float64 {
	out := make([]float64, 0, len(qs))
	total := float64(d.Count())
	var seen uint64
	i := -1
	for _, q := range qs {
		// Without the slack, ceil(0.999*1000) is 1000 in floating point.
		rank := max(uint64(math.Ceil(q*total*(1-1e-12))), 1)
		for seen < rank && i+1 < len(d.Counts) {
			i++
			seen += d.Counts[i]
		}
		out = append(out, d.Values[i])
	}
	return out
}

// Merge returns the distribution of the samples of both.
func (d Distribution) Merge(o Distribution) Distribution {
	var m Distribution
	i, j := 0, 0
	for i < len(d.Values) || j < len(o.Values) {
		var v float64
		var c uint64
		switch {
		case j == len(o.Values) || i < len(d.Values) && d.Values[i] < o.Values[j]:
			v, c = d.Values[i], d.Counts[i]
			i++
		case i == len(d.Values) || o.Values[j] < d.Values[i]:
			v, c = o.Values[j], o.Counts[j]
			j++
		default:
			v, c = d.Values[i], d.Counts[i]+o.Counts[j]
			i, j = i+1, j+1
		}
		m.Values, m.Counts = append(m.Values, v), append(m.Counts, c)
	}
	return m
}
