package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/bench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

// The main job's measurements. Its time is divided among them evenly.
func suiteSpecs() []bench.Spec {
	return []bench.Spec{
		{Kind: report.KindRTT, Link: bench.LinkRing, Size: 64},
		{Kind: report.KindRTT, Link: bench.LinkUDS, Size: 64},
		{Kind: report.KindRTT, Link: bench.LinkRing, Size: 64, Wait: "park"},
		{Kind: report.KindRTT, Link: bench.LinkUDS, Size: 64, Wait: "park"},
		{Kind: report.KindStream, Link: bench.LinkRing, Size: 64},
		{Kind: report.KindStream, Link: bench.LinkRing, Size: 64, Batch: 32},
		{Kind: report.KindStream, Link: bench.LinkRing, Size: 1 << 10, Batch: 8},
		{Kind: report.KindStream, Link: bench.LinkRing, Size: 64 << 10},
		{Kind: report.KindStream, Link: bench.LinkRing, Size: 1 << 20},
		{Kind: report.KindStream, Link: bench.LinkUDS, Size: 64, Batch: 32},
		{Kind: report.KindStream, Link: bench.LinkUDS, Size: 64 << 10},
		{Kind: report.KindRPC, Link: bench.LinkRing, Size: 64},
		{Kind: report.KindRPC, Link: bench.LinkRing, Size: 64, RPC: bench.RPC{Caller: bench.CallerGoroutine}},
		{Kind: report.KindRPC, Link: bench.LinkRing, Size: 64, RPC: bench.RPC{Window: 64}},
		{Kind: report.KindTopic, Link: bench.LinkBroadcast, Size: 64, Batch: topicBatch},
	}
}

// suiteRounds is odd, so that a median is a round that happened.
const suiteRounds = 5

func runSuite(ctx context.Context, args []string) error {
	o := newFlags("suite", "Measures rings, unix sockets and typed calls between two processes, beside the host's own limits.")
	o.set.StringVar(&o.out, "out", ".", "`DIR` for cellbench.json and cellbench.html")
	o.set.DurationVar(&o.spec.Duration, "duration", 20*time.Second, "of all measurements together, without their limits")
	o.set.BoolVar(&o.noC, "no-c", false, "do not build the limits in C")
	if err := o.parse(args); err != nil {
		return err
	}
	least, most := time.Duration(len(suiteSpecs()))*time.Millisecond*suiteRounds, time.Hour
	if d := o.spec.Duration; d < least || d > most {
		return fmt.Errorf("%w: --duration %v: from %v to %v", errUsage, d, least, most)
	}
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return fmt.Errorf("--out: %w; name a directory that you may write to", err)
	}
	for _, name := range suiteFiles {
		if err := report.CanWrite(filepath.Join(o.out, name)); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	var results []report.Result
	err := withBench(ctx, !o.noC, func(b *bench.Bench, p *report.Progress) error {
		specs := suiteSpecs()
		for i, s := range specs {
			s.CPUs, s.Rounds, s.Warmup, s.Batch = o.spec.CPUs, suiteRounds, 20*time.Millisecond, max(s.Batch, 1)
			s.Duration = o.spec.Duration / time.Duration(len(specs))
			if err := s.Check(); err != nil {
				return err
			}
			what := fmt.Sprintf("%s %s %s %s", s.Kind, s.Link, report.FormatSize(s.Size), s.Wait)
			res, _, err := b.Measure(ctx, s, func(r, n int) { p.Show(i*n+r, len(specs)*n, what) })
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			results = append(results, res)
		}
		p.Show(len(specs), len(specs), "jitter")
		res, _, err := bench.Jitter(ctx, o.spec.CPUs, 2*time.Second, time.Microsecond)
		results = append(results, res)
		return err
	})
	if err != nil {
		return err
	}
	return o.emitSuite(results)
}

// suiteFiles are what the main job writes into --out.
var suiteFiles = [...]string{"cellbench.json", "cellbench.html"}

// emitSuite writes the table and both files. One that can't be written keeps
// nothing else from being written.
func (o *options) emitSuite(results []report.Result) error {
	rep := report.Report{Host: results[0].Host, Results: results}
	var failed []error
	for i, write := range []func(io.Writer) error{
		func(w io.Writer) error { return report.WriteReport(w, rep) },
		func(w io.Writer) error { return report.WriteHTML(w, rep) },
	} {
		path := filepath.Join(o.out, suiteFiles[i])
		if err := report.WriteFile(path, write); err != nil {
			failed = append(failed, err)
			continue
		}
		defer fmt.Fprintf(os.Stderr, "written: %s\n", path)
	}
	return errors.Join(append(failed, o.emit(results, nil))...)
}
