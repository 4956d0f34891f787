package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/sched"
)

// Jitter spins on the first CPU for d and reports every gap of at least
// threshold, with the findings about the host that explain them.
func Jitter(ctx context.Context, cpus [2]int, d, threshold time.Duration) (report.Result, []report.Round, error) {
	if d < time.Millisecond || d > time.Hour || threshold < 100*time.Nanosecond {
		return report.Result{}, nil, fmt.Errorf("%w: --duration %v from 1ms to 1h, --threshold %v from 100ns", ErrSpec, d, threshold)
	}
	host := sched.Local()
	topo, err := host.Topology()
	if err != nil {
		return report.Result{}, nil, err
	}
	started, rec, lost := time.Now(), newRecorder(), uint64(0)
	var watched time.Duration
	err = onCPU(cpus[0], func() error {
		begin := sched.Now()
		limit := sched.NanosToTicks(int64(threshold))
		until, t := after(d), sched.Ticks()
		for i := 0; !past(t, until); i++ {
			now := sched.Ticks()
			if gap := now - t; gap >= limit && int64(gap) > 0 {
				rec.ticks(gap)
				lost += gap
			}
			t = now
			if i%(1<<20) == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		}
		watched = time.Duration(sched.Now() - begin)
		return nil
	})
	if err != nil {
		return report.Result{}, nil, err
	}
	times := rec.times()
	rounds := []report.Round{{Got: report.Sample{Times: times}}}
	res, err := report.Combine(report.Setting{Kind: report.KindJitter, Link: "core", Batch: 1}, report.Setting{}, rounds)
	if err != nil {
		return res, rounds, err
	}
	res.Started, res.Path = started, fmt.Sprintf("a thread that spins on CPU %d and reads the clock", cpus[0])
	res.Jitter = &report.Jitter{ThresholdNS: float64(threshold), ObservedS: watched.Seconds(),
		GapsPerS:  float64(times.Count()) / watched.Seconds(),
		LostShare: float64(sched.TicksToNanos(lost)) / float64(watched)}
	for _, f := range host.Probe(topo, sched.CPUs(cpus[:]...)) {
		if f.Severity != sched.OK {
			res.Jitter.Findings = append(res.Jitter.Findings, report.Finding{Severity: severity(f.Severity),
				What: f.What, Evidence: f.Evidence, Fix: f.Fix})
		}
	}
	h := report.CollectHost()
	h.CPUs, h.Pinning = cpus[:1], fmt.Sprintf("one thread on CPU %d", cpus[0])
	res.Host = &h
	return res, rounds, nil
}

// severity is what the report calls it.
func severity(s sched.Severity) string {
	switch s {
	case sched.Problem:
		return "error"
	case sched.Warning:
		return "warning"
	}
	return "info"
}
