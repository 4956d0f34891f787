package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// workNames are what the page calls the works.
var workNames = map[work]string{
	sync1: "one caller", sync64: "64 callers", pipelined: "pipelined", read1: "one reader", read64: "64 readers",
}

func number(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2f M/s", v/1e6)
	case v >= 1e5:
		return fmt.Sprintf("%.0f k/s", v/1e3)
	case v >= 1e3:
		return fmt.Sprintf("%.1f k/s", v/1e3)
	}
	return fmt.Sprintf("%.0f /s", v)
}

func inTime(v float64) string {
	d := time.Duration(v)
	if d >= time.Millisecond {
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.0f µs", float64(d)/1e3)
}

func rate(s *sample) float64 { return s.rate() }
func p50(s *sample) float64  { return float64(s.P50) }
func p99(s *sample) float64  { return float64(s.P99) }

// table writes the lines of one place and number of groups.
func (r *report) table(b *bytes.Buffer, p place, groups int, only int) {
	for _, w := range works {
		head := false
		for _, s := range systems {
			x := row{p, groups, w, s.name}
			rates := r.of(x, rate)
			if len(rates) == 0 || only >= 0 && !r.inRun(x, only) {
				continue
			}
			if !head {
				fmt.Fprintf(b, "\n| %s | a second | least to most | p50 | p99 | rate to its base | p50 to its base | rounds |\n|---|---|---|---|---|---|---|---|\n", workNames[w])
				head = true
			}
			v := spreadOf(rates)
			times := [2]string{"–", "–"}
			if w != pipelined {
				times = [2]string{inTime(spreadOf(r.of(x, p50)).median), inTime(spreadOf(r.of(x, p99)).median)}
			}
			ratio := [2]string{"", ""}
			if s.base != "" {
				if v := r.ratios(x, s.base, rate); len(v) > 0 {
					m := spreadOf(v)
					ratio[0] = fmt.Sprintf("%.2f (%.2f–%.2f)", m.median, m.least, m.most)
				}
				if v := r.ratios(x, s.base, p50); len(v) > 0 && w != pipelined {
					m := spreadOf(v)
					ratio[1] = fmt.Sprintf("%.2f (%.2f–%.2f)", m.median, m.least, m.most)
				}
			}
			fmt.Fprintf(b, "| `%s` | %s | %s to %s | %s | %s | %s | %s | %d |\n", s.name, number(v.median), number(v.least), number(v.most),
				times[0], times[1], ratio[0], ratio[1], len(rates))
		}
	}
}

func (r *report) inRun(x row, run int) bool {
	return slices.ContainsFunc(r.Samples, func(s sample) bool {
		return s.Run == run && s.Place == x.place && s.Groups == x.groups && s.Work == x.work && s.System == x.system
	})
}

// latest is what the last run has to say.
func (r *report) latest() string {
	if len(r.Samples) == 0 {
		return ""
	}
	last := r.Samples[len(r.Samples)-1]
	var b bytes.Buffer
	r.table(&b, last.Place, last.Groups, len(r.Runs)-1)
	return b.String()
}

// page writes the results for people.
func page(r *report) []byte {
	var b bytes.Buffer
	b.WriteString(`# Replicated state, measured

Written by ` + "`perf/peers/raft`" + `; every sample is in [raft.json](raft.json). Again, and what is measured exactly:

` + "```sh\ncd perf/peers/raft && go build -o raft . && ./raft --help && ./raft --list\n./raft --only cell,dragonboat --groups 1 --out ../../results\n```" + `

Three replicas over TCP on the loopback. Every entry is synced to disk (fdatasync) by a majority before it is acknowledged. Commands have 16 bytes, and a machine that counts them. A *caller* waits for each answer; *pipelined* keeps 2,048 commands under way without one. Reads are linearizable. Callers are where the group's leader is. All systems of a run are started together and measured in turn, in an order drawn for each round; ratios are those of rounds, then their median, least and most. Figures are medians of the rounds. Where groups have leaders in several processes, p50 is the mean of theirs, weighted by calls.

![Commands a second](raft.svg)
`)
	for _, p := range []place{threeProcesses, oneProcess} {
		for _, groups := range r.groupCounts(p) {
			fmt.Fprintf(&b, "\n## %s, %s\n", map[place]string{threeProcesses: "Three processes", oneProcess: "Three replicas in one process"}[p], plural(groups))
			r.table(&b, p, groups, -1)
		}
	}
	r.idleTable(&b)
	b.WriteString("\n## What is measured\n\n| system | version | what exactly |\n|---|---|---|\n")
	last := oneRun{}
	if len(r.Runs) > 0 {
		last = r.Runs[len(r.Runs)-1]
	}
	for _, s := range systems {
		version := "–"
		if v := last.Versions[s.module]; v != "" {
			version = v
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.name, version, s.about)
	}
	fmt.Fprintf(&b, "\n%s, %d CPUs, Linux %s, %s, GOMAXPROCS %d, a tick of %v (heartbeats every 2, elections after %d).\n",
		last.CPU, last.CPUs, last.Kernel, last.Go, last.Procs, last.Tick, electionTicks)
	return b.Bytes()
}

func plural(groups int) string {
	if groups == 1 {
		return "one group"
	}
	return fmt.Sprintf("%d groups", groups)
}

func (r *report) groupCounts(p place) []int {
	var all []int
	for _, s := range r.Samples {
		if s.Place == p && !slices.Contains(all, s.Groups) {
			all = append(all, s.Groups)
		}
	}
	slices.Sort(all)
	return all
}

// idleTable is what groups take while nothing happens.
func (r *report) idleTable(b *bytes.Buffer) {
	if len(r.Idle) == 0 {
		return
	}
	b.WriteString("\n## Groups that do nothing\n\nEach line is one process with its replica of every group, ten seconds long; memory after a collection.\n\n| system | place | groups | tick | all elected after | CPU, of a core | heap | resident | goroutines |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Idle {
		fmt.Fprintf(b, "| `%s` | %s | %d | %v | %.1f s | %.1f %% | %.1f MiB | %.1f MiB | %d |\n", s.System, strings.ReplaceAll(string(s.Place), "-", " "), s.Groups,
			s.Tick, s.Elected.Seconds(), 100*s.CPU, float64(s.Heap)/(1<<20), float64(s.RSS)/(1<<20), s.Routine)
	}
}
