// Command discoverysim runs the protocol of package discovery, unchanged, on a
// simulated network and clock, for clusters of several sizes, and writes what it
// found as a table (Markdown) and a plot (SVG): how long until all know all, until
// a new node is known and knows all, until a dead one is gone everywhere, bytes a
// second, and nodes that were taken for dead and lived. The same seed gives the
// same figures on any host.
//
//	go run ./perf/discoverysim -nodes 10,100,1000 -span 1h -out perf/results
//	go run ./perf/discoverysim -nodes 1000 -span 24h -trials 20 -out perf/results
//	GOMEMLIMIT=15GiB GOGC=off go run ./perf/discoverysim -nodes 10000 -span 2m -trials 3 -out perf/results
//
// What was found of other sizes before stays in the page.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/cell-runtime/cell/discovery/sim"
)

var (
	sizes    = flag.String("nodes", "10,100,1000", "sizes of the clusters, between commas")
	span     = flag.Duration("span", time.Hour, "how much simulated time each cluster is watched for false deaths")
	patience = flag.Duration("patience", 0, "real time after which the watch ends earlier, and says how long it was; 0: it doesn't")
	loss     = flag.Float64("loss", 0.01, "probability that a datagram is lost, for each receiver")
	trial    = flag.Int("trials", 20, "how many nodes join, and how many are killed")
	seed     = flag.Uint64("seed", 1, "of all that is drawn at random")
	out      = flag.String("out", "", "folder for discovery.json, DISCOVERY.md and discovery.svg; empty: the table on standard output")
)

// result is what was found of one size, with what it was found by.
type result struct {
	Nodes  int           `json:"nodes"`
	Trials int           `json:"trials"`
	Seed   uint64        `json:"seed"`
	Loss   float64       `json:"loss"`
	Span   time.Duration `json:"span"`

	All    time.Duration `json:"all"`    // from the last start until all know all
	Known  times         `json:"known"`  // of a new node, at each of the others
	Knows  times         `json:"knows"`  // until a new node knows all
	Gone   times         `json:"gone"`   // of a dead node, at each of the others
	Missed int           `json:"missed"` // that never found it gone
	Steady sim.Rate      `json:"steady"`

	FalseDeaths uint64        `json:"falseDeaths"`
	Steps       uint64        `json:"steps"`
	Took        time.Duration `json:"took"`
	Memory      uint64        `json:"memory"`
}

// times is what is told of a spread.
type times struct {
	P50  time.Duration `json:"p50"`
	P99  time.Duration `json:"p99"`
	Most time.Duration `json:"most"`
}

func timesOf(s sim.Spread) times { return times{s.At(0.5), s.At(0.99), s.At(1)} }

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "discoverysim:", err)
		os.Exit(1)
	}
}

func run() error {
	go hugePages()
	var all []*result
	for _, text := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 2 {
			return fmt.Errorf("-nodes: %q is no number of nodes above 1", text)
		}
		r, err := simulate(n)
		if err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
		fmt.Fprintf(os.Stderr, "%d nodes: %d steps in %v, %d MiB\n", n, r.Steps, r.Took.Round(time.Second), r.Memory>>20)
		all = append(all, r)
	}
	if *out == "" {
		_, err := os.Stdout.WriteString(page(all))
		return err
	}
	return write(*out, all)
}

// simulate runs one cluster: a start of all at once, joins, kills, and a long
// time in which nothing happens but losses.
func simulate(n int) (*result, error) {
	begun := time.Now()
	w := sim.New(sim.Config{Nodes: n, Seed: *seed, Loss: *loss, Skew: 5 * time.Millisecond, Services: 3})
	x := sim.NewWatch(w)
	r := &result{Nodes: n, Trials: *trial, Seed: *seed, Loss: *loss}
	say := func(format string, what ...any) {
		fmt.Fprintf(os.Stderr, "%v: %d nodes, %v simulated, %d steps: ", time.Since(begun).Round(time.Second), n, w.Now().Round(time.Second), w.Counts().Steps)
		fmt.Fprintf(os.Stderr, format+"\n", what...)
	}
	var ok bool
	var err error
	if r.All, ok, err = x.StartAll(100*time.Millisecond, 5*time.Minute); err != nil {
		return nil, err
	} else if !ok {
		return nil, fmt.Errorf("they do not all know each other after %v", r.All)
	}
	say("all know all")
	w.Run(time.Minute, nil)
	r.Steady = w.Steady(5 * time.Minute)
	say("%.0f B/s a node", r.Steady.Received)
	var known, knows, gone sim.Spread
	for i := range *trial {
		k, whole, err := x.Join(time.Minute)
		if err != nil {
			return nil, err
		}
		if len(k) < n {
			return nil, fmt.Errorf("a new node is known to %d of %d after a minute", len(k), n)
		}
		known, knows = append(known, k...), append(knows, whole)
		// A while, in which another phase of the others' periods comes.
		w.Run(time.Duration(w.Random().Int64N(int64(20*time.Second))), nil)
		g := x.Kill(w.Any(), time.Minute)
		gone, r.Missed = append(gone, g...), r.Missed+n-len(g)
		w.Run(time.Duration(w.Random().Int64N(int64(20*time.Second))), nil)
		say("trial %d of %d", i+1, *trial)
	}
	r.Known, r.Knows, r.Gone = timesOf(known), timesOf(knows), timesOf(gone)
	r.Span = watch(w, begun, say)
	c := w.Counts()
	r.FalseDeaths, r.Steps, r.Took = c.FalseDeaths, c.Steps, time.Since(begun)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.Memory = m.Sys
	runtime.KeepAlive(w)
	return r, nil
}

// watch lets the span pass, or as much of it as there is patience for.
func watch(w *sim.World, begun time.Time, say func(string, ...any)) (watched time.Duration) {
	const piece = time.Minute
	for told := time.Now(); watched < *span; {
		if *patience > 0 && time.Since(begun) > *patience {
			break
		}
		d := min(piece, *span-watched)
		w.Run(d, nil)
		watched += d
		if time.Since(told) > time.Minute {
			say("%v of %v watched, %d false deaths", watched, *span, w.Counts().FalseDeaths)
			told = time.Now()
		}
	}
	return watched
}
