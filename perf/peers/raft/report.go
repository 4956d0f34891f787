package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

const reportFormat = 1

// Names of the files in the directory of results.
const (
	jsonFile    = "raft.json"
	pageFile    = "RAFT.md"
	pictureFile = "raft.svg"
)

// report is all that was measured, and the JSON file.
type report struct {
	Format  int          `json:"format"`
	Runs    []oneRun     `json:"runs"`
	Samples []sample     `json:"samples"`
	Idle    []idleSample `json:"idle"`
}

// oneRun is one call of the program.
type oneRun struct {
	Commit   string            `json:"commit"`
	Dirty    bool              `json:"dirty,omitempty"`
	Kernel   string            `json:"kernel"`
	CPU      string            `json:"cpu"`
	CPUs     int               `json:"cpus"`
	Go       string            `json:"go"`
	Versions map[string]string `json:"versions"`
	Tick     time.Duration     `json:"tick_ns"`
	Size     int               `json:"size"`
	Procs    int               `json:"procs"`
}

// sample is one measurement.
type sample struct {
	Run    int    `json:"run"`
	Round  int    `json:"round"`
	System string `json:"system"`
	Place  place  `json:"place"`
	Groups int    `json:"groups"`
	Work   work   `json:"work"`
	tallies
}

// idleSample is one process doing nothing.
type idleSample struct {
	Run     int           `json:"run"`
	System  string        `json:"system"`
	Place   place         `json:"place"`
	Groups  int           `json:"groups"`
	Tick    time.Duration `json:"tick_ns"`
	Elected time.Duration `json:"elected_ns"`
	Led     int           `json:"led"`
	idle
}

func (s *sample) rate() float64 { return float64(s.Count) / s.Elapsed.Seconds() }

func (r *report) begin(o *options) {
	run := oneRun{Kernel: firstLine("/proc/sys/kernel/osrelease"), CPU: cpuName(), CPUs: runtime.NumCPU(), Go: runtime.Version(),
		Versions: map[string]string{}, Tick: o.tick, Size: o.size, Procs: o.procs}
	run.Commit = git("rev-parse", "--short=12", "HEAD")
	run.Dirty = git("status", "--porcelain", "--untracked-files=no", "../../../consensus") != ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			for _, s := range systems {
				if s.module == m.Path {
					run.Versions[m.Path] = m.Version
				}
			}
		}
	}
	r.Runs = append(r.Runs, run)
}

func git(args ...string) string {
	out, err := exec.Command("git", append([]string{"--no-optional-locks"}, args...)...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func firstLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

func cpuName() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func (r *report) add(o *options, round int, system string, w work, t tallies) {
	r.Samples = append(r.Samples, sample{Run: len(r.Runs) - 1, Round: round, System: system, Place: o.place, Groups: o.groups, Work: w, tallies: t})
}

// readReport reads what was measured before, if anything was.
func readReport(dir string) (*report, error) {
	b, err := os.ReadFile(filepath.Join(dir, jsonFile))
	if errors.Is(err, os.ErrNotExist) {
		return &report{Format: reportFormat}, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(report)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", jsonFile, err)
	}
	if r.Format != reportFormat {
		return nil, fmt.Errorf("%s has format %d, this program writes %d: choose another --out", jsonFile, r.Format, reportFormat)
	}
	return r, nil
}

// writeReport writes the samples, a line each, the page and the picture.
func writeReport(dir string, r *report) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n  \"format\": %d,\n  \"runs\": [", r.Format)
	if err := errors.Join(lines(&b, r.Runs), next(&b, "samples"), lines(&b, r.Samples), next(&b, "idle"), lines(&b, r.Idle)); err != nil {
		return err
	}
	b.WriteString("\n  ]\n}\n")
	for name, text := range map[string][]byte{jsonFile: b.Bytes(), pageFile: page(r), pictureFile: picture(r)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func next(b *bytes.Buffer, name string) error {
	fmt.Fprintf(b, "\n  ],\n  %q: [", name)
	return nil
}

func lines[T any](b *bytes.Buffer, all []T) error {
	for i := range all {
		text, err := json.Marshal(&all[i])
		if err != nil {
			return err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "\n    %s", text)
	}
	return nil
}

// spread is the median of some rounds, with the least and the greatest.
type spread struct{ median, least, most float64 }

func spreadOf(v []float64) (s spread) {
	if len(v) == 0 {
		return s
	}
	slices.Sort(v)
	n := len(v)
	return spread{(v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]}
}

// row is what one table's line sums up.
type row struct {
	place  place
	groups int
	work   work
	system string
}

// of collects a figure of a row's samples.
func (r *report) of(w row, figure func(*sample) float64) []float64 {
	var v []float64
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Place == w.place && s.Groups == w.groups && s.Work == w.work && s.System == w.system {
			v = append(v, figure(s))
		}
	}
	return v
}

// ratios compares a system with another in each round that has both.
func (r *report) ratios(w row, base string, figure func(*sample) float64) []float64 {
	type moment struct{ run, round int }
	other := map[moment]float64{}
	for i := range r.Samples {
		if s := &r.Samples[i]; s.Place == w.place && s.Groups == w.groups && s.Work == w.work && s.System == base {
			other[moment{s.Run, s.Round}] = figure(s)
		}
	}
	var v []float64
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Place != w.place || s.Groups != w.groups || s.Work != w.work || s.System != w.system {
			continue
		}
		if b := other[moment{s.Run, s.Round}]; b > 0 {
			v = append(v, figure(s)/b)
		}
	}
	return v
}
