package bench

import (
	"context"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

// Limits measures what the two CPUs of s can do without any of Cell's code: a
// bare cache line there and back, and copies of three sizes. Of s it uses CPUs,
// Duration and Rounds. Errors: ErrSpec.
func (b *Bench) Limits(ctx context.Context, s Spec, progress func(i, of int)) ([]report.Result, error) {
	if err := s.checkTime(); err != nil {
		return nil, err
	}
	started := time.Now()
	kinds := []struct {
		set report.Setting
		run limiter
	}{{report.Setting{Link: "cacheline", Size: 64, Payload: 8}, func(_ context.Context, d time.Duration) (report.Sample, error) {
		return b.lineLimit(s.CPUs, 20*time.Millisecond, d)
	}}}
	for _, n := range []int{1 << 10, 64 << 10, 1 << 20} {
		kinds = append(kinds, struct {
			set report.Setting
			run limiter
		}{report.Setting{Link: "copy", Size: n, Payload: n}, func(_ context.Context, d time.Duration) (report.Sample, error) {
			return b.copyLimit(n, s.CPUs, d)
		}})
	}
	rounds := make([][]report.Round, len(kinds))
	length := s.Duration / time.Duration(len(kinds)*s.Rounds)
	for r := range s.Rounds { // interleaved
		for i, k := range kinds {
			progress(r*len(kinds)+i, s.Rounds*len(kinds))
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			got, err := k.run(ctx, length)
			if err != nil {
				return nil, err
			}
			rounds[i] = append(rounds[i], report.Round{Got: got})
		}
	}
	var out []report.Result
	for i, k := range kinds {
		k.set.Kind, k.set.Batch, k.set.Wait, k.set.Loop = report.KindLimit, 1, "spin", report.Closed
		res, err := report.Combine(k.set, report.Setting{}, rounds[i])
		if err != nil {
			return nil, err
		}
		res.Started = started
		b.describe(&res, &Spec{CPUs: s.CPUs, NoLimit: true})
		out = append(out, res)
	}
	return out, nil
}
