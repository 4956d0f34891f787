package report

import (
	"slices"

	"github.com/cell-runtime/cell/metrics"
)

// FromMetrics returns the times that a histogram of nanoseconds counted. Each
// bucket's samples take its upper edge, as HdrHistogram's percentiles do, but
// the least and the greatest sample are kept exactly where the histogram knew
// them.
func FromMetrics(m *metrics.Distribution) Distribution {
	var d Distribution
	for b := range m.Buckets() {
		v := min(max(b.High, m.Min()), m.Max())
		d.Values = append(d.Values, float64(v))
		d.Counts = append(d.Counts, b.Count)
	}
	// One sample of the first bucket is known to be the least.
	if least := float64(m.Min()); len(d.Values) > 0 && least < d.Values[0] {
		if d.Counts[0] == 1 {
			d.Values[0] = least
			return d
		}
		d.Counts[0]--
		d.Values = slices.Insert(d.Values, 0, least)
		d.Counts = slices.Insert(d.Counts, 0, 1)
	}
	return d
}
