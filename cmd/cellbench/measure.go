package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/bench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

func runRTT(ctx context.Context, args []string) error {
	o := newFlags("rtt", "Measures round trips between two processes, beside a bare cache line.")
	o.measuring("64", 3*time.Second)
	o.set.StringVar(&o.garbage, "garbage", "", "`BYTES` a second that a goroutine beside the caller allocates and drops; K, M, G suffixes")
	o.spec.Kind = report.KindRTT
	return o.one(ctx, args)
}

func runStream(ctx context.Context, args []string) error {
	o := newFlags("stream", "Measures one way, beside an equal ring in C (bare copies from about 1 KiB on).")
	o.measuring("64", 3*time.Second)
	o.set.StringVar(&o.spec.Input, "input", "", "`FILE`: its bytes are what travels, once; SHA-256 compared at the end")
	o.set.BoolVar(&o.noC, "no-c", false, "do not build the limits in C")
	o.spec.Kind = report.KindStream
	return o.one(ctx, args)
}

func runFanIn(ctx context.Context, args []string) error {
	o := newFlags("fanin", "Measures calls from some of many connections into one engine, beside the busy ones alone.")
	o.measuring("64", 3*time.Second)
	o.set.IntVar(&o.spec.Peers, "peers", 100, "connections")
	o.set.IntVar(&o.spec.Busy, "busy", 10, "how many of them call; 0: all")
	o.spec.Kind = report.KindFanIn
	return o.one(ctx, args)
}

// one makes the measurement that the flags ask for.
func (o *options) one(ctx context.Context, args []string) error {
	if err := o.parse(args); err != nil {
		return err
	}
	if o.prepare != nil {
		if err := o.prepare(); err != nil {
			return err
		}
	}
	if o.spec.Input != "" && !o.given("size") {
		o.spec.Size = 64 << 10 // a file travels in larger pieces
	}
	if !o.given("busy") {
		o.spec.Busy = min(o.spec.Busy, o.spec.Peers)
	}
	if err := o.spec.Check(); err != nil {
		return err
	}
	if o.hgrm != "" && o.spec.Kind == report.KindStream && o.spec.Rate == report.MaxRate {
		return fmt.Errorf("%w: --hgrm: a stream in closed loop times no single vesicles; give a --rate, or leave --hgrm out", errUsage)
	}
	if o.hgrm != "" && (o.spec.Kind == report.KindTopic || o.spec.RPC.Window > 1) {
		return usageError("--hgrm: neither events nor pipelined calls are timed one by one; leave --hgrm out")
	}
	native := (o.spec.Kind == report.KindStream || o.spec.Kind == report.KindTopic) && !o.noC && !o.spec.NoLimit && o.spec.Input == "" && o.spec.Rate == report.MaxRate
	return withBench(ctx, native, func(b *bench.Bench, p *report.Progress) error {
		res, rounds, err := b.Measure(ctx, o.spec, func(i, n int) { p.Show(i, n, o.spec.Kind+" "+o.spec.Link) })
		if err != nil {
			return err
		}
		p.Clear()
		return o.emit([]report.Result{res}, rounds)
	})
}

// given reports whether a flag was on the command line.
func (o *options) given(name string) (yes bool) {
	return slices.Contains(o.names(), name)
}

func runLimit(ctx context.Context, args []string) error {
	o := newFlags("limit", "Measures the physical limit of a pair of cores: a bare cache line there and back, and bare copies.")
	o.set.DurationVar(&o.spec.Duration, "duration", 3*time.Second, "of all measurements together")
	o.set.IntVar(&o.spec.Rounds, "rounds", 5, "rounds")
	if err := o.parse(args); err != nil {
		return err
	}
	return withBench(ctx, false, func(b *bench.Bench, p *report.Progress) error {
		results, err := b.Limits(ctx, o.spec, func(i, n int) { p.Show(i, n, "limit") })
		if err != nil {
			return err
		}
		p.Clear()
		return o.emit(results, nil)
	})
}

func runJitter(ctx context.Context, args []string) error {
	o := newFlags("jitter", "Spins on the first CPU and reports every gap, with what was found wrong with the host.")
	o.set.DurationVar(&o.spec.Duration, "duration", 5*time.Second, "how long to watch")
	o.set.DurationVar(&o.thresh, "threshold", time.Microsecond, "shorter gaps are not counted")
	o.set.StringVar(&o.hgrm, "hgrm", "", "`FILE`: write the gaps in HdrHistogram's percentile format")
	if err := o.parse(args); err != nil {
		return err
	}
	res, rounds, err := bench.Jitter(ctx, o.spec.CPUs, o.spec.Duration, o.thresh)
	if err != nil {
		return err
	}
	return o.emit([]report.Result{res}, rounds)
}

func runCompare(_ context.Context, args []string) error {
	o := newFlagSet("compare", "[flags] A.json B.json", "Compares two result files, A before and B after. - is standard input.")
	o.set.StringVar(&o.json, "json", "", "`FILE`: write the comparison as JSON; - is standard output, in place of the table")
	force := o.set.Bool("force", false, "compare results of unlike hosts or settings all the same")
	if err := o.parseFlags(args); err != nil {
		return err
	}
	if n := o.set.NArg(); n != 2 {
		return fmt.Errorf("%w: %d files; name two that --json has written, as in: cellbench compare before.json after.json", errUsage, n)
	}
	a, err := readResults(o.set.Arg(0))
	if err != nil {
		return err
	}
	b, err := readResults(o.set.Arg(1))
	if err != nil {
		return err
	}
	c, err := report.Compare(a.Results, b.Results, *force)
	if err != nil {
		return err
	}
	switch o.json {
	case "-":
		return c.WriteJSON(os.Stdout)
	case "":
	default:
		if err := report.WriteFile(o.json, c.WriteJSON); err != nil {
			return err
		}
	}
	return c.WriteText(os.Stdout, report.StyleFor(os.Stdout))
}

func readResults(name string) (report.Report, error) {
	var r io.Reader = os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return report.Report{}, fmt.Errorf("%w; name a file that --json has written, or - for standard input", err)
		}
		defer f.Close()
		r = f
	}
	rep, err := report.Read(r)
	if err != nil {
		return rep, fmt.Errorf("%s: %w", name, err)
	}
	return rep, nil
}
