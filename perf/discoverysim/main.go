// Command discoverysim runs the protocol of package discovery, unchanged, on a
// simulated network and clock, for clusters of several sizes, and writes what it
// found as a table (Markdown) and a plot (SVG): how long until all know all, until
// a new node is known and knows all, until a dead one is gone everywhere, bytes a
// second, and nodes that were taken for dead and lived. The same seed gives the
// same figures on any host.
//
//	go run ./perf/discoverysim -nodes 10,100,1000 -span 1h -out perf/results
//	go run ./perf/discoverysim -nodes 1000 -span 24h
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/cell-runtime/cell/discovery/sim"
)

var (
	sizes = flag.String("nodes", "10,100,1000", "sizes of the clusters, between commas")
	span  = flag.Duration("span", time.Hour, "how much simulated time each cluster is watched for false deaths")
	loss  = flag.Float64("loss", 0.01, "probability that a datagram is lost, for each receiver")
	trial = flag.Int("trials", 20, "how many nodes join, and how many are killed")
	seed  = flag.Uint64("seed", 1, "of all that is drawn at random")
	out   = flag.String("out", "", "folder for DISCOVERY.md and discovery.svg; empty: the table on standard output")
)

// result is what was found of one size.
type result struct {
	nodes       int
	all         time.Duration // from the last start until all know all
	known       sim.Spread    // of a new node, at each of the others
	knows       sim.Spread    // until a new node knows all
	gone        sim.Spread    // of a dead node, at each of the others
	missed      int           // that never found it gone
	start       sim.Rate      // until then
	steady      sim.Rate
	falseDeaths uint64
	span        time.Duration
	steps       uint64
	took        time.Duration
	memory      uint64
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "discoverysim:", err)
		os.Exit(1)
	}
}

func run() error {
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
		fmt.Fprintf(os.Stderr, "%d nodes: %d steps in %v, %d MiB\n", n, r.steps, r.took.Round(time.Second), r.memory>>20)
		all = append(all, r)
	}
	if *out == "" {
		_, err := os.Stdout.WriteString(page(all))
		return err
	}
	if err := os.WriteFile(filepath.Join(*out, "DISCOVERY.md"), []byte(page(all)), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(*out, "discovery.svg"), []byte(plot(all)), 0o644)
}

// simulate runs one cluster: a start of all at once, joins, kills, and a long
// time in which nothing happens but losses.
func simulate(n int) (*result, error) {
	begun := time.Now()
	w := sim.New(sim.Config{Nodes: n, Seed: *seed, Loss: *loss, Skew: 5 * time.Millisecond, Services: 3})
	x := sim.NewWatch(w)
	r := &result{nodes: n, span: *span}
	before := w.Counts()
	var ok bool
	var err error
	if r.all, ok, err = x.StartAll(100*time.Millisecond, 5*time.Minute); err != nil {
		return nil, err
	} else if !ok {
		return nil, fmt.Errorf("they do not all know each other after %v", r.all)
	}
	r.start = w.RateSince(before, w.Now())
	w.Run(time.Minute, nil)
	r.steady = w.Steady(5 * time.Minute)
	for range *trial {
		known, knows, err := x.Join(time.Minute)
		if err != nil {
			return nil, err
		}
		if len(known) < n {
			return nil, fmt.Errorf("a new node is known to %d of %d after a minute", len(known), n)
		}
		r.known, r.knows = append(r.known, known...), append(r.knows, knows)
		// A while, in which another phase of the others' periods comes.
		w.Run(time.Duration(w.Random().Int64N(int64(20*time.Second))), nil)
		gone := x.Kill(w.Any(), time.Minute)
		r.gone, r.missed = append(r.gone, gone...), r.missed+n-len(gone)
		w.Run(time.Duration(w.Random().Int64N(int64(20*time.Second))), nil)
	}
	w.Run(r.span, nil)
	c := w.Counts()
	r.falseDeaths, r.steps, r.took = c.FalseDeaths, c.Steps, time.Since(begun)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.memory = m.Sys
	runtime.KeepAlive(w)
	return r, nil
}
