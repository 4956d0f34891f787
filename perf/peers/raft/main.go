// Command raft measures replicated state: Cell's consensus beside the
// dragonboat that it stands on, etcd's Raft and hashicorp/raft. Three replicas,
// in one process or in three, every log on disk and synced before anything is
// acknowledged. Systems are measured in turn, in one run, on the same disk. It
// writes tables, a picture and every sample into perf/results.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// options are the flags, read and checked.
type options struct {
	systems  []system
	works    []work
	groups   int
	place    place
	duration time.Duration
	warmup   time.Duration
	tick     time.Duration
	rounds   int
	size     int
	procs    int
	dir      string
	out      string
	idle     bool
	page     bool
	list     bool
}

func main() {
	if text := os.Getenv(childEnv); text != "" {
		if err := serveChild(text); err != nil {
			fmt.Fprintln(os.Stderr, "raft:", err)
			os.Exit(exitFailed)
		}
		return
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	o, usage, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(stdout)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "raft: %v\nSee --help.\n", err)
		return exitUsage
	case o.list:
		for _, s := range systems {
			fmt.Fprintf(stdout, "%-16s %s\n", s.name, s.about)
		}
		return exitOK
	}
	if err := o.run(stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "raft: %v\n", err)
		return exitFailed
	}
	return exitOK
}

func parse(args []string) (o *options, usage func(io.Writer), err error) {
	o = &options{}
	f := flag.NewFlagSet("raft", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	only := f.String("only", "cell,dragonboat", "`NAMES` of systems, between commas; see --list")
	names := f.String("works", "sync-1,sync-64,pipelined,read-1,read-64", "`WORKS` to measure")
	f.IntVar(&o.groups, "groups", 1, "how many groups")
	where := f.String("place", string(oneProcess), "`WHERE` the replicas run: one-process, three-processes")
	f.DurationVar(&o.duration, "duration", time.Second, "of one measurement")
	f.DurationVar(&o.warmup, "warmup", 200*time.Millisecond, "before each, not counted")
	f.DurationVar(&o.tick, "tick", 30*time.Millisecond, "unit of Raft's times: heartbeats every 2, an election after 17")
	f.IntVar(&o.rounds, "rounds", 3, "rounds, each with every measurement once")
	f.IntVar(&o.size, "size", 16, "`BYTES` of a command")
	f.IntVar(&o.procs, "procs", 4, "GOMAXPROCS of every process: some threads wait for the disk")
	f.StringVar(&o.dir, "dir", "", "where logs go, on the disk to be measured (default: a temporary directory)")
	f.StringVar(&o.out, "out", "", "`DIR` to add the samples to, in raft.json, and to write the page and picture anew; empty prints only")
	f.BoolVar(&o.idle, "idle", false, "measure doing nothing instead: CPU and memory for --groups, and for one")
	f.BoolVar(&o.page, "page", false, "measure nothing: write the page of --out anew")
	f.BoolVar(&o.list, "list", false, "list the systems and end")
	usage = func(w io.Writer) {
		fmt.Fprint(w, "usage: raft [flags]\n\nMeasures replicated state: three replicas, logs synced to disk.\n\n")
		f.SetOutput(w)
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return o, usage, err
	}
	if f.NArg() > 0 {
		return o, usage, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	for name := range strings.SplitSeq(*only, ",") {
		s, err := systemByName(name)
		if err != nil {
			return o, usage, err
		}
		o.systems = append(o.systems, s)
	}
	for name := range strings.SplitSeq(*names, ",") {
		if !slices.Contains(works, work(name)) {
			return o, usage, fmt.Errorf("no work %q; there are %v", name, works)
		}
		o.works = append(o.works, work(name))
	}
	o.place = place(*where)
	switch {
	case o.place != oneProcess && o.place != threeProcesses:
		err = fmt.Errorf("--place %q: %s or %s", o.place, oneProcess, threeProcesses)
	case o.groups < 1 || o.groups > 4096:
		err = fmt.Errorf("--groups %d: from 1 to 4096", o.groups)
	case o.duration < time.Millisecond || o.duration > time.Minute || o.warmup < 0 || o.warmup > time.Minute:
		err = fmt.Errorf("--duration and --warmup: up to a minute")
	case o.tick < time.Millisecond || o.tick > time.Second:
		err = fmt.Errorf("--tick %v: from 1ms to 1s", o.tick)
	case o.rounds < 1 || o.rounds > 1000 || o.size < 1 || o.size > 1<<20 || o.procs < 1:
		err = fmt.Errorf("--rounds from 1 to 1000, --size from 1 to 1 MiB, --procs from 1")
	case o.page && o.out == "":
		err = fmt.Errorf("--page needs --out")
	}
	return o, usage, err
}
