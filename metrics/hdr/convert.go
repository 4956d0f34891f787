package hdr

import (
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/cell-runtime/cell/metrics"
)

// ToHDR returns a histogram with the same buckets and counts as d. It shares
// no memory with d.
func ToHDR(d *metrics.Distribution) *hdrhistogram.Histogram {
	o, counts := d.Options(), d.Counts()
	signed := make([]int64, len(counts))
	for i, c := range counts {
		signed[i] = int64(c) // a distribution's total is below 2^63
	}
	// Import takes the counts as they are; it can't fail, because every
	// geometry that metrics accepts is one of HdrHistogram's.
	return hdrhistogram.Import(&hdrhistogram.Snapshot{
		LowestTrackableValue:  o.Lowest,
		HighestTrackableValue: o.Highest,
		SignificantFigures:    int64(o.Digits),
		Counts:                signed,
	})
}

// FromHDR returns a distribution with the same buckets and counts as h. It
// fails with metrics.ErrInvalid for a geometry that only other
// implementations have: zero significant digits, a lowest value beyond 2^40,
// or a highest below twice the lowest.
func FromHDR(h *hdrhistogram.Histogram) (*metrics.Distribution, error) {
	s := h.Export()
	if s.SignificantFigures == 0 || s.HighestTrackableValue == 0 {
		// Zero would be taken for a default.
		return nil, fmt.Errorf("%w: histogram of %d digits up to %d", metrics.ErrInvalid, s.SignificantFigures, s.HighestTrackableValue)
	}
	counts := make([]uint64, len(s.Counts))
	for i, c := range s.Counts {
		if c < 0 {
			return nil, fmt.Errorf("%w: count %d at index %d", metrics.ErrInvalid, c, i)
		}
		counts[i] = uint64(c)
	}
	return metrics.NewDistribution(metrics.HistogramOptions{
		Lowest: s.LowestTrackableValue, Highest: s.HighestTrackableValue, Digits: int(s.SignificantFigures),
	}, counts)
}
