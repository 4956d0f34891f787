package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/bench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

// emit writes one command's results where its flags say. What can't be written
// keeps nothing else from being written: measuring took its time.
func (o *options) emit(results []report.Result, rounds []report.Round) error {
	rep := report.Report{Host: results[0].Host, Results: results}
	var failed []error
	if o.hgrm != "" {
		failed = append(failed, report.WriteFile(o.hgrm, func(w io.Writer) error { return report.WriteHgrm(w, report.AllTimes(rounds)) }))
	}
	if o.html != "" {
		failed = append(failed, report.WriteFile(o.html, func(w io.Writer) error { return report.WriteHTML(w, rep) }))
	}
	write := func(w io.Writer) error {
		if len(results) == 1 {
			return report.WriteResult(w, results[0])
		}
		return report.WriteReport(w, rep)
	}
	if o.json == "-" {
		return errors.Join(append(failed, write(os.Stdout))...)
	}
	if o.json != "" {
		failed = append(failed, report.WriteFile(o.json, write))
	}
	return errors.Join(append(failed, report.WriteTable(os.Stdout, results, report.StyleFor(os.Stdout)))...)
}

// withBench runs f with a peer process, and with the C limits if they are
// wanted and can be built.
func withBench(ctx context.Context, native bool, f func(*bench.Bench, *report.Progress) error) (err error) {
	b, err := bench.New(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := b.Close(); err == nil && ctx.Err() == nil {
			err = cerr
		}
	}()
	p := report.NewProgress(os.Stderr)
	defer p.Clear()
	if native {
		p.Show(0, 1, "building the limits in C")
		if err := b.UseNative(ctx); err != nil {
			p.Clear()
			fmt.Fprintln(os.Stderr, "cellbench:", err)
		}
	}
	return f(b, p)
}
