package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/perf/peers/internal/report"
	"github.com/cell-runtime/cell/sched"
)

var errUsage = errors.New("wrong usage")

// options are the flags, read and checked.
type options struct {
	set        *flag.FlagSet
	peers      []peer.Adapter
	works      []peer.Work
	sizes      []int
	placements []report.Placement
	cpus       [2]int
	duration   time.Duration
	warmup     time.Duration
	budget     time.Duration
	rounds     int
	out        string
	resume     bool
	quick      bool
	list       bool
}

// Bounds of flags.
const (
	minDuration = time.Millisecond
	maxDuration = time.Minute
	maxRounds   = 1000
)

// texts are flags that are lists.
type texts struct{ only, works, sizes, placements, cpus string }

func (o *options) flags(t *texts) {
	f := o.set
	f.StringVar(&t.only, "only", "", "`NAMES` of peers, between commas (default: all; see --list)")
	f.StringVar(&t.works, "works", "rtt,pipelined,stream", "`WORKS` to measure")
	f.StringVar(&t.sizes, "sizes", "64,1K,64K,1M", "`BYTES` of payload, between commas; K and M suffixes")
	f.StringVar(&t.placements, "placement", "pinned,free", "`WHERE`: pinned (one CPU each), free (round trips of the smallest size once more, without pinning)")
	f.StringVar(&t.cpus, "cpus", "", "`A,B`: CPUs of client and server (default: chosen from the topology)")
	f.DurationVar(&o.duration, "duration", time.Second, "of one measurement")
	f.DurationVar(&o.warmup, "warmup", 100*time.Millisecond, "before each, not counted")
	f.DurationVar(&o.budget, "budget", 0, "begin no measurement after this time (0: none); the exit status is then 3, and --resume goes on")
	f.IntVar(&o.rounds, "rounds", 5, "rounds, each with every measurement once, in an order of its own")
	f.StringVar(&o.out, "out", "../results", "`DIR` for peers.json, README.md and pictures; - writes the page to standard output and no file")
	f.BoolVar(&o.resume, "resume", false, "go on with the report in --out, if there is one; everything but --rounds must be as it was")
	f.BoolVar(&o.quick, "quick", false, "one round of 50ms each at 64 B and 64 KiB, pinned, --out -, unless said otherwise")
	f.BoolVar(&o.list, "list", false, "list the peers and end")
}

// quickly holds what --quick changes, where the command line is silent.
var quickly = map[string]string{"rounds": "1", "duration": "50ms", "warmup": "20ms", "sizes": "64,64K", "placement": "pinned", "out": "-"}

// parse reads the command line. Asked for help it returns flag.ErrHelp.
func parse(args []string, all []peer.Adapter) (*options, error) {
	o := &options{set: flag.NewFlagSet("peers", flag.ContinueOnError)}
	o.set.SetOutput(io.Discard) // errors are printed once, by run
	var t texts
	o.flags(&t)
	if err := o.set.Parse(args); err != nil {
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if o.set.NArg() > 0 {
		return o, fmt.Errorf("%w: unexpected argument %q; flags come as --name value", errUsage, o.set.Arg(0))
	}
	if o.quick {
		said := map[string]bool{}
		o.set.Visit(func(f *flag.Flag) { said[f.Name] = true })
		for name, value := range quickly {
			if !said[name] {
				if err := o.set.Set(name, value); err != nil {
					return o, err
				}
			}
		}
	}
	if o.list {
		return o, nil
	}
	if err := o.check(); err != nil {
		return o, err
	}
	return o, o.resolve(&t, all)
}

func (o *options) usage(w io.Writer) {
	fmt.Fprint(w, "usage: peers [flags]\n\nMeasures Cell beside other products, on the same two CPUs, in one interleaved run.\n\n")
	o.set.VisitAll(func(f *flag.Flag) {
		value, what := flag.UnquoteUsage(f)
		head := "--" + f.Name
		if value != "" {
			head += " " + value
		}
		if f.DefValue != "" && f.DefValue != "false" {
			what += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  %s\n      %s\n", head, what)
	})
	fmt.Fprint(w, "\nExit status: 0 measured, 1 something failed, 2 wrong usage, 3 rounds are left (--budget).\n")
}

func (o *options) check() error {
	for _, c := range []struct {
		bad  bool
		text string
	}{
		{o.duration < minDuration || o.duration > maxDuration, fmt.Sprintf("--duration %v: from %v to %v", o.duration, minDuration, maxDuration)},
		{o.warmup < 0 || o.warmup > maxDuration, fmt.Sprintf("--warmup %v: from 0 to %v", o.warmup, maxDuration)},
		{o.budget < 0, fmt.Sprintf("--budget %v: a time, or 0 for none", o.budget)},
		{o.rounds < 1 || o.rounds > maxRounds, fmt.Sprintf("--rounds %d: from 1 to %d", o.rounds, maxRounds)},
		{o.out == "", "--out: name a directory, or - for standard output"},
		{o.resume && o.out == "-", "--resume: there is nothing in standard output to go on with; name a directory by --out"},
		{o.budget > 0 && o.out == "-", "--budget: what is left of standard output can't be resumed; name a directory by --out"},
	} {
		if c.bad {
			return fmt.Errorf("%w: %s", errUsage, c.text)
		}
	}
	return nil
}

// resolve turns lists into what they name.
func (o *options) resolve(t *texts, all []peer.Adapter) (err error) {
	if o.peers, err = choosePeers(t.only, all); err != nil {
		return err
	}
	if o.works, err = choose("--works", t.works, peer.Works); err != nil {
		return err
	}
	if o.placements, err = choose("--placement", t.placements, []report.Placement{report.Pinned, report.Free}); err != nil {
		return err
	}
	if o.sizes, err = parseSizes(t.sizes); err != nil {
		return err
	}
	o.cpus, err = chooseCPUs(t.cpus)
	return err
}

// choosePeers keeps the order of all, whatever the order of the names.
func choosePeers(only string, all []peer.Adapter) ([]peer.Adapter, error) {
	if only == "" {
		return all, nil
	}
	names := strings.Split(only, ",")
	var chosen []peer.Adapter
	for _, a := range all {
		if i := slices.Index(names, a.Name); i >= 0 {
			chosen = append(chosen, a)
			names = slices.Delete(names, i, i+1)
		}
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("%w: --only: no peer %q, or twice; --list lists them", errUsage, names[0])
	}
	return chosen, nil
}

// choose reads a list of words out of known ones, in the order of the known.
func choose[T ~string](flag, list string, known []T) (chosen []T, err error) {
	words := strings.Split(list, ",")
	for _, k := range known {
		if i := slices.Index(words, string(k)); i >= 0 {
			chosen = append(chosen, k)
			words = slices.Delete(words, i, i+1)
		}
	}
	if len(words) > 0 {
		return nil, fmt.Errorf("%w: %s: %q is unknown or there twice; known are %v", errUsage, flag, words[0], known)
	}
	return chosen, nil
}

func parseSizes(list string) (sizes []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		digits, shift := word, 0
		if rest, ok := strings.CutSuffix(strings.ToUpper(word), "K"); ok {
			digits, shift = rest, 10
		} else if rest, ok := strings.CutSuffix(strings.ToUpper(word), "M"); ok {
			digits, shift = rest, 20
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n > peer.MaxSize>>shift || n<<shift < peer.MinSize {
			return nil, fmt.Errorf("%w: --sizes: %q: from %d to %s, such as 64,1K,1M", errUsage, word, peer.MinSize, report.FormatSize(peer.MaxSize))
		}
		if n <<= shift; slices.Contains(sizes, n) {
			return nil, fmt.Errorf("%w: --sizes: %s is there twice", errUsage, word)
		}
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	return sizes, nil
}

// chooseCPUs takes two CPUs from the flag or from the topology.
func chooseCPUs(list string) (cpus [2]int, err error) {
	r := sched.RingPair()
	if list != "" {
		a, b, ok := strings.Cut(list, ",")
		x, err1 := strconv.Atoi(strings.TrimSpace(a))
		y, err2 := strconv.Atoi(strings.TrimSpace(b))
		if !ok || err1 != nil || err2 != nil || x == y {
			return cpus, fmt.Errorf("%w: --cpus %q: two different CPU numbers such as 2,3", errUsage, list)
		}
		r.CPUs, r.AllowSiblings, r.ShareLLC = []int{x, y}, true, false // chosen on purpose
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
	if err != nil {
		return cpus, fmt.Errorf("%w: two CPUs are needed: %w", errUsage, err)
	}
	copy(cpus[:], plan.CPUs())
	return cpus, nil
}
