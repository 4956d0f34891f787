package bench

import (
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/sched"
)

// recorder counts times in ticks of the processor's counter; conversion to
// nanoseconds happens once, at the end.
type recorder struct {
	hist *metrics.Histogram
}

func newRecorder() *recorder {
	// The options are constant and valid.
	h, err := metrics.NewHistogram(metrics.HistogramOptions{Highest: 1 << 46, Digits: 3})
	if err != nil {
		panic(err)
	}
	return &recorder{h}
}

func (r *recorder) ticks(t uint64) { r.hist.Record(int64(t)) }

// times returns what was recorded, in nanoseconds.
//
// Counters advance in steps, 10 ns on common servers, so that all times of
// about 100 ns fall on a few values and a median can only be one of these: too
// coarse for ratios of a tenth. A reading is up to one step late at either
// end, so a difference d stands for times evenly about d: its samples are laid
// out evenly over the step around it. That neither moves the mean nor narrows
// the spread.
func (r *recorder) times() report.Distribution {
	snap := r.hist.Snapshot()
	perTick := float64(sched.TicksToNanos(1<<40)) / (1 << 40)
	step := sched.Clock().StepNanos
	d := report.FromMetrics(snap)
	fine := newFine()
	for i, v := range d.Values {
		fine.add(v*perTick, step, d.Counts[i])
	}
	return fine.distribution()
}

// fine rebuilds a distribution on a grid of its own: steps of 1 ns up to
// 4,096 ns, one part in 4,096 above.
type fine struct {
	small  [4096]uint64
	values []float64
	counts []uint64
}

func newFine() *fine { return new(fine) }

func (f *fine) add(ns, step float64, n uint64) {
	if ns+step >= float64(len(f.small)) {
		if k := len(f.values); k > 0 && f.values[k-1] >= ns {
			f.counts[k-1] += n
			return
		}
		f.values, f.counts = append(f.values, ns), append(f.counts, n)
		return
	}
	first := max(int(ns-step/2+0.5), 0)
	cells := max(int(step+0.5), 1)
	for i := range cells {
		// The remainder goes to the middle cells by this rounding.
		f.small[first+i] += n*uint64(i+1)/uint64(cells) - n*uint64(i)/uint64(cells)
	}
}

func (f *fine) distribution() report.Distribution {
	var d report.Distribution
	for v, n := range f.small {
		if n > 0 {
			d.Values, d.Counts = append(d.Values, float64(v)), append(d.Counts, n)
		}
	}
	for i, v := range f.values {
		if k := len(d.Values); k > 0 && d.Values[k-1] >= v {
			d.Counts[k-1] += f.counts[i]
			continue
		}
		d.Values, d.Counts = append(d.Values, v), append(d.Counts, f.counts[i])
	}
	return d
}

// after returns the tick count d from now.
func after(d time.Duration) uint64 { return sched.Ticks() + sched.NanosToTicks(int64(d)) }

// past reports whether tick a lies behind tick b; the counter may wrap.
func past(a, b uint64) bool { return int64(a-b) >= 0 }
