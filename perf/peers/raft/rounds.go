package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"
)

// run measures, and adds to the report.
func (o *options) run(stdout, stderr io.Writer) (err error) {
	r := &report{Format: reportFormat}
	if o.out != "" {
		if r, err = readReport(o.out); err != nil {
			return err
		}
	}
	if o.page {
		return writeReport(o.out, r)
	}
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "cell-raft-perf-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	r.begin(o)
	if o.idle {
		err = o.rest(r, dir, stderr)
	} else {
		err = o.load(r, dir, stderr)
	}
	fmt.Fprint(stdout, r.latest())
	if o.out != "" && err == nil {
		err = writeReport(o.out, r)
	}
	return err
}

// load starts all systems and measures them in turn, in an order that is drawn
// for each round. Those that are not asked have only their heartbeats to do.
func (o *options) load(r *report, dir string, progress io.Writer) (err error) {
	var all []*cluster
	defer func() {
		for _, c := range all {
			err = errors.Join(err, c.close())
		}
	}()
	for _, s := range o.systems {
		if o.groups > 1 && !s.many {
			continue
		}
		begun := time.Now()
		c, err := startCluster(s, o.groups, o.place, dir, o)
		if err != nil {
			return err
		}
		fmt.Fprintf(progress, "%s: leaders of %d groups after %v\n", s.name, o.groups, time.Since(begun).Round(time.Millisecond))
		all = append(all, c)
	}
	for round := range o.rounds {
		for _, w := range o.works {
			for _, i := range rand.New(rand.NewPCG(uint64(round), uint64(len(w)))).Perm(len(all)) {
				c := all[i]
				t, err := c.load(w, o)
				if err != nil {
					return err
				}
				if t.Count == 0 && t.Error == errNotThere.Error() {
					continue
				}
				fmt.Fprintf(progress, "round %d, %s of %s: %v\n", round+1, w, c.system.name, t)
				r.add(o, round+1, c.system.name, w, t)
			}
		}
	}
	return nil
}

// idleLength is how long doing nothing is measured.
const idleLength = 10 * time.Second

// rest measures what --groups groups take while nothing happens, and one.
func (o *options) rest(r *report, dir string, progress io.Writer) error {
	for _, s := range o.systems {
		for _, groups := range []int{1, o.groups} {
			begun := time.Now()
			c, err := startCluster(s, groups, o.place, fmt.Sprintf("%s/idle-%d", dir, groups), o)
			if err != nil {
				return err
			}
			elected := time.Since(begun)
			time.Sleep(2 * time.Second)
			answers, err := c.each(func(int) order { return order{Do: "idle", Length: idleLength} })
			if err = errors.Join(err, c.close()); err != nil {
				return err
			}
			for _, a := range answers {
				fmt.Fprintf(progress, "%s, %d groups, elected in %v: %.1f %% of a core, heap %.1f MiB, resident %.1f MiB, %d goroutines, %d threads, leads %d\n", s.name, groups,
					elected.Round(time.Millisecond), 100*a.Idle.CPU, float64(a.Idle.Heap)/(1<<20), float64(a.Idle.RSS)/(1<<20), a.Idle.Routine, a.Idle.Threads, a.Led)
				r.Idle = append(r.Idle, idleSample{Run: len(r.Runs) - 1, System: s.name, Groups: groups, Place: o.place, Tick: o.tick, Elected: elected, Led: a.Led, idle: a.Idle})
			}
			if groups == o.groups {
				break
			}
		}
	}
	return nil
}
