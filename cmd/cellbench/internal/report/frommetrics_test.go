package report

import (
	"math/rand/v2"
	"testing"

	"github.com/cell-runtime/cell/metrics"
)

func TestFromMetricsKeepsPercentiles(t *testing.T) {
	h, err := metrics.NewHistogram(metrics.HistogramOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		h.Record(int64(100 + r.ExpFloat64()*20_000))
	}
	m := h.Snapshot()
	d := FromMetrics(m)
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	l := d.Latency()
	if d.Count() != m.Count() || l.Min != float64(m.Min()) || l.Max != float64(m.Max()) {
		t.Errorf("%d samples from %v to %v, want %d from %d to %d", d.Count(), l.Min, l.Max, m.Count(), m.Min(), m.Max())
	}
	for i, f := range l.fields() {
		near(t, *f, float64(m.Percentile(named[i]*100)))
	}
	near(t, &l.Mean, m.Mean())
}

// near allows for the histogram's resolution of three digits.
func near(t *testing.T, got *float64, want float64) {
	t.Helper()
	if got == nil || *got < want*0.999 || *got > want*1.001 {
		t.Errorf("got %v, want %v", optional(got, FormatNS), want)
	}
}

func TestFromMetricsOfFewSamples(t *testing.T) {
	for _, values := range [][]int64{nil, {0}, {123_456_789}, {5, 123_456_789}, {1 << 30, 1<<30 + 1}} {
		h, err := metrics.NewHistogram(metrics.HistogramOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			h.Record(v)
		}
		d := FromMetrics(h.Snapshot())
		if err := d.Check(); err != nil {
			t.Errorf("%v: %v", values, err)
		}
		if d.Count() != uint64(len(values)) {
			t.Errorf("%v: %d samples", values, d.Count())
		}
		if n := len(values); n > 0 {
			if least, most := d.Bounds(); least != float64(values[0]) || most != float64(values[n-1]) {
				t.Errorf("%v: from %v to %v", values, least, most)
			}
		}
	}
}
