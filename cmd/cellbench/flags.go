package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/bench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/sched"
)

// options are the flags of the measuring commands.
type options struct {
	set     *flag.FlagSet
	usage   func(io.Writer) error
	spec    bench.Spec
	size    string
	ring    string
	rate    string
	garbage string
	cpus    string
	json    string
	hgrm    string
	html    string
	out     string
	noC     bool
	thresh  time.Duration
	prepare func() error // settles what flags mean together, if not nil
}

// newFlagSet returns a command's flags, without any yet.
func newFlagSet(name, args, short string) *options {
	o := &options{set: flag.NewFlagSet("cellbench "+name, flag.ContinueOnError)}
	o.set.SetOutput(io.Discard) // errors are printed once, by run
	o.usage = func(out io.Writer) error {
		var w strings.Builder
		fmt.Fprintf(&w, "usage: cellbench %s %s\n%s\n\n", name, args, short)
		o.set.VisitAll(func(f *flag.Flag) {
			value, what := flag.UnquoteUsage(f)
			head := "--" + f.Name
			if value != "" {
				head += " " + value
			}
			if f.DefValue != "" && f.DefValue != "false" {
				what += " (default " + f.DefValue + ")"
			}
			fmt.Fprintf(&w, "  %s\n      %s\n", head, what)
		})
		_, err := io.WriteString(out, w.String())
		return err
	}
	return o
}

// newFlags returns the flags that all measuring commands share.
func newFlags(name, short string) *options {
	o := newFlagSet(name, "[flags]", short)
	o.set.StringVar(&o.cpus, "cpus", "", "`A,B`: CPUs of the two processes, caller or sender first (default: chosen from the topology)")
	o.set.StringVar(&o.json, "json", "", "`FILE`: write the result as JSON; - is standard output, in place of the table")
	o.set.StringVar(&o.html, "html", "", "`FILE`: write a self-contained page with percentile plots")
	return o
}

// measuring adds the flags of rtt, stream and fanin.
func (o *options) measuring(size string, duration time.Duration) {
	f := o.set
	f.StringVar(&o.spec.Link, "link", "ring", "ring or uds")
	f.StringVar(&o.size, "size", size, "`BYTES` of a whole vesicle: commit word (4), header (20), payload; 64 carries 40 and is one cache line. K, M suffixes")
	f.StringVar(&o.ring, "ring", "", "`BYTES` of each direction's ring, a power of two (default: by size). K, M suffixes")
	f.IntVar(&o.spec.Batch, "batch", 1, "vesicles published at once; streams and topics only")
	f.StringVar(&o.rate, "rate", "max", "max: closed loop; a `NUMBER` a second (K, M suffixes): open loop by a fixed schedule, times counted from the intended start")
	f.DurationVar(&o.spec.Duration, "duration", duration, "of all rounds together")
	f.DurationVar(&o.spec.Warmup, "warmup", 50*time.Millisecond, "of each round, not counted")
	f.IntVar(&o.spec.Rounds, "rounds", 5, "rounds, each over a new connection, with one of the limit between")
	f.StringVar(&o.spec.Wait, "wait", "spin", "spin, yield, park or adaptive")
	f.BoolVar(&o.spec.NoLimit, "no-limit", false, "do not measure the limit beside it")
	f.StringVar(&o.hgrm, "hgrm", "", "`FILE`: write the times in HdrHistogram's percentile format")
}

// parseFlags reads args. Asked for help it prints that and returns
// flag.ErrHelp.
func (o *options) parseFlags(args []string) error {
	err := o.set.Parse(args)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, flag.ErrHelp):
		if wrong := o.usage(os.Stdout); wrong != nil {
			return wrong
		}
		return err
	}
	return fmt.Errorf("%w: %w", errUsage, err)
}

// parse reads args and resolves everything that is text.
func (o *options) parse(args []string) (err error) {
	if err := o.parseFlags(args); err != nil {
		return err
	}
	if o.set.NArg() > 0 {
		return fmt.Errorf("%w: unexpected argument %q; flags come as --name value", errUsage, o.set.Arg(0))
	}
	if o.size != "" {
		if o.spec.Size, err = parseBytes("--size", o.size); err != nil {
			return err
		}
	}
	if o.ring != "" {
		if o.spec.Ring, err = parseBytes("--ring", o.ring); err != nil {
			return err
		}
	}
	if o.garbage != "" {
		if o.spec.Garbage, err = parseBytes("--garbage", o.garbage); err != nil {
			return err
		}
	}
	if o.rate != "" {
		if o.spec.Rate, err = report.ParseRate(o.rate); err != nil {
			return fmt.Errorf("%w: --rate: %w", errUsage, err)
		}
	}
	if err := o.checkOutputs(); err != nil {
		return err
	}
	o.spec.CPUs, err = chooseCPUs(o.cpus)
	return err
}

// checkOutputs refuses what can't be written to before it is measured for.
func (o *options) checkOutputs() error {
	for _, out := range []struct{ flag, path string }{{"--json", o.json}, {"--html", o.html}, {"--hgrm", o.hgrm}} {
		if out.path == "" || out.path == "-" {
			continue
		}
		if err := report.CanWrite(out.path); err != nil {
			return fmt.Errorf("%s: %w", out.flag, err)
		}
	}
	return nil
}

// usageError is a refusal of flags that don't go together.
func usageError(text string) error { return fmt.Errorf("%w: %s", errUsage, text) }

// parseBytes reads a number of bytes with an optional K, M or G (binary).
func parseBytes(name, s string) (int, error) {
	digits, shift := s, 0
	if i := strings.IndexAny(s, "kKmMgG"); i >= 0 {
		switch rest := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s[i:]), "B"), "I"); rest {
		case "K":
			shift = 10
		case "M":
			shift = 20
		case "G":
			shift = 30
		default:
			return 0, fmt.Errorf("%w: %s %q: a number of bytes below 2G, such as 64, 4K or 1M", errUsage, name, s)
		}
		digits = s[:i]
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || n > math.MaxInt32>>shift {
		return 0, fmt.Errorf("%w: %s %q: a number of bytes below 2G, such as 64, 4K or 1M", errUsage, name, s)
	}
	return n << shift, nil
}

// chooseCPUs takes two CPUs from the flag or from the topology.
func chooseCPUs(list string) (cpus [2]int, err error) {
	r := sched.RingPair()
	if list != "" {
		a, b, ok := strings.Cut(list, ",")
		x, err1 := strconv.Atoi(strings.TrimSpace(a))
		y, err2 := strconv.Atoi(strings.TrimSpace(b))
		if !ok || err1 != nil || err2 != nil {
			return cpus, fmt.Errorf("%w: --cpus %q: two CPU numbers such as 2,3", errUsage, list)
		}
		if x == y {
			return cpus, fmt.Errorf("%w: --cpus %q: two different CPUs; on one, two spinning processes only wait for each other", errUsage, list)
		}
		r.CPUs = []int{x, y}
		r.AllowSiblings = true // chosen on purpose
		r.ShareLLC = false
	}
	topo, err := sched.Local().Topology()
	if err != nil {
		return cpus, err
	}
	plan, err := sched.NewPlan(topo, r)
	if errors.Is(err, sched.ErrNotSupported) { // a virtual machine that hides its caches
		r.ShareLLC = false
		plan, err = sched.NewPlan(topo, r)
	}
	if errors.Is(err, sched.ErrCPU) && list != "" {
		return cpus, fmt.Errorf("%w: --cpus %q: %w", errUsage, list, err)
	}
	if err != nil {
		return cpus, err
	}
	copy(cpus[:], plan.CPUs())
	return cpus, nil
}

// names lists the flags that were on the command line.
func (o *options) names() (names []string) {
	o.set.Visit(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}
