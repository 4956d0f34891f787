package measure

import (
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/perf/peers/internal/report"
	"github.com/cell-runtime/cell/sched"
)

// times counts durations in ticks of the processor's counter, in the buckets of
// an HdrHistogram with three digits; nanoseconds come at the end.
type times struct{ h *metrics.Histogram }

func newTimes() times {
	// The options are constant and valid.
	h, err := metrics.NewHistogram(metrics.HistogramOptions{Highest: 1 << 46, Digits: 3})
	if err != nil {
		panic(err)
	}
	return times{h}
}

func (t times) add(ticks uint64) { t.h.Record(int64(ticks)) }

func (t times) report() *report.Times {
	d := t.h.Snapshot()
	if d.Count() == 0 {
		return nil
	}
	perTick := float64(sched.TicksToNanos(1<<40)) / (1 << 40)
	step := sched.Clock().StepNanos
	at := func(p float64) float64 { return percentile(d, p, perTick, step) }
	return &report.Times{P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), P9999: at(99.99),
		Max: float64(d.Max()) * perTick}
}

// percentile interpolates within a bucket.
//
// Counters advance in steps, 10 ns on common servers, so that all times of
// about 100 ns fall on a few values, and a median that can only be one of these
// is too coarse for ratios. A reading is up to one step late at either end, so
// a difference stands for times evenly about it: its samples are laid out
// evenly over the step around it, or over the bucket where that is wider.
func percentile(d *metrics.Distribution, p, perTick, step float64) float64 {
	rank := p / 100 * float64(d.Count())
	seen := 0.0
	value := 0.0
	for b := range d.Buckets() {
		n := float64(b.Count)
		middle := float64(b.Low+b.High) / 2 * perTick
		width := max(float64(b.High-b.Low+1)*perTick, step)
		value = middle + width*(min(max((rank-seen)/n, 0), 1)-0.5)
		if seen += n; seen >= rank {
			break
		}
	}
	return max(value, 0)
}
