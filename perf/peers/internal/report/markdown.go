package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed page.md.tmpl
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"size": FormatSize,
	"ms":   func(d time.Duration) string { return fmt.Sprint(d) },
}).Parse(pageText))

// messageSize is the largest message whose rate is told in messages a second;
// above, bytes tell more.
const messageSize = 4096

// References are the peers to which the others are compared, the first that
// was measured.
var References = []string{"cell-rpc-ring", "cell-ring-raw"}

// Markdown writes the page of results: the method and all tables.
func Markdown(r *Report) ([]byte, error) {
	p := pageView{Report: r, LeftOut: len(r.samples(Moved))}
	for _, state := range r.states() {
		t := Summarise(r, state)
		p.Sections = append(p.Sections, &view{Report: r, Table: t, State: state, Least: least(t), Line: r.lines(state)})
	}
	var b bytes.Buffer
	err := page.Execute(&b, &p)
	return b.Bytes(), err
}

// least returns the number of rounds in which every cell was measured.
func least(t Table) int {
	n := 0
	for _, f := range t {
		if n == 0 || f.Rounds < n {
			n = f.Rounds
		}
	}
	return n
}

// pageView is what the page's template sees.
type pageView struct {
	*Report
	Sections []*view
	LeftOut  int // measurements
}

// view is the part of a page for one state.
type view struct {
	*Report
	Table
	State State
	Least int // rounds
	Line  Spread
}

// Bare says what the bare line was.
func (v *view) Bare() string {
	return fmt.Sprintf("%s (%s to %s)", formatNanos(v.Line.Median), formatNanos(v.Line.Min), formatNanos(v.Line.Max))
}

// File is the name of a picture.
func (v *view) File(name string) string { return v.file(v.State, name) }

// Commits lists the revisions that were measured, in order.
func (v *pageView) Commits() string {
	var found []string
	for _, r := range v.Runs {
		c := r.Commit[:min(12, len(r.Commit))]
		if r.Dirty {
			c += " (modified)"
		}
		if !slices.Contains(found, c) {
			found = append(found, c)
		}
	}
	return strings.Join(found, ", ")
}

// When says from when to when it was measured.
func (v *pageView) When() string {
	if len(v.Runs) == 0 {
		return "never"
	}
	first, last := v.Runs[0].Started.UTC(), v.Runs[len(v.Runs)-1].Started.UTC()
	const day = "2006-01-02"
	if first.Format(day) == last.Format(day) {
		return first.Format(day)
	}
	return first.Format(day) + " to " + last.Format(day)
}

// reference returns the peer to compare with, "" without one.
func (v *view) reference() string {
	for _, name := range References {
		if slices.Contains(v.Settings.Peers, name) {
			return name
		}
	}
	return ""
}

// RoundTrips is the table of calls one at a time: for every size p50 and p99,
// and for the smallest how the rounds spread and what a call costs.
func (v *view) RoundTrips() string {
	return v.timesTable(Pinned, v.Settings.Sizes)
}

// FreeRoundTrips is the same where the kernel places the processes.
func (v *view) FreeRoundTrips() string { return v.timesTable(Free, v.Settings.Sizes) }

func (v *view) timesTable(p Placement, sizes []int) string {
	sizes = v.measured("rtt", p, sizes)
	if len(sizes) == 0 {
		return ""
	}
	ref, small := v.reference(), sizes[0]
	head := []string{"peer"}
	for _, s := range sizes {
		head = append(head, FormatSize(s)+", p50 / p99")
	}
	base := v.Get(ref, "rtt", small, p)
	if base != nil {
		head = append(head, fmt.Sprintf("%s, p50 to %s", FormatSize(small), ref))
	}
	w := newGrid(head)
	for _, name := range v.Settings.Peers {
		row, any := []string{"`" + name + "`"}, false
		for _, s := range sizes {
			f := v.Get(name, "rtt", s, p)
			if f == nil {
				row = append(row, "–")
				continue
			}
			any = true
			row = append(row, formatNanos(f.P50.Median)+" / "+formatNanos(f.P99.Median))
		}
		if base != nil {
			ratio := "–"
			if f := v.Get(name, "rtt", small, p); f != nil {
				ratio = digits(f.P50.Median/base.P50.Median) + " ×"
			}
			row = append(row, ratio)
		}
		if any {
			w.add(row)
		}
	}
	return w.String()
}

// measured returns those of sizes at which anything was measured.
func (v *view) measured(work string, p Placement, sizes []int) (found []int) {
	for _, s := range sizes {
		if slices.ContainsFunc(v.Settings.Peers, func(name string) bool { return v.Get(name, work, s, p) != nil }) {
			found = append(found, s)
		}
	}
	return found
}

// Detail is the table of the smallest size's percentiles and their spread.
func (v *view) Detail() string {
	sizes := v.measured("rtt", Pinned, v.Settings.Sizes)
	if len(sizes) == 0 {
		return ""
	}
	w := newGrid([]string{"peer", "p50, least to greatest of the rounds", "p90", "p99", "p99.9", "greatest", "CPU s for a million calls"})
	for _, name := range v.Settings.Peers {
		if f := v.Get(name, "rtt", sizes[0], Pinned); f != nil {
			w.add([]string{"`" + name + "`",
				fmt.Sprintf("%s, %s to %s", formatNanos(f.P50.Median), formatNanos(f.P50.Min), formatNanos(f.P50.Max)),
				formatNanos(f.P90.Median), formatNanos(f.P99.Median), formatNanos(f.P999.Median),
				formatNanos(f.Max.Max), digits(f.CPU.Median)})
		}
	}
	return w.String()
}

// Smallest is the smallest size measured in round trips.
func (v *view) Smallest() string {
	if s := v.measured("rtt", Pinned, v.Settings.Sizes); len(s) > 0 {
		return FormatSize(s[0])
	}
	return "–"
}

// Pipelines is the table of calls with a window under way.
func (v *view) Pipelines() string { return v.rateTable("pipelined") }

// Streams is the table of messages one way.
func (v *view) Streams() string { return v.rateTable("stream") }

func (v *view) rateTable(work string) string {
	sizes := v.measured(work, Pinned, v.Settings.Sizes)
	if len(sizes) == 0 {
		return ""
	}
	head := []string{"peer"}
	for _, s := range sizes {
		head = append(head, FormatSize(s), "least to greatest")
	}
	w := newGrid(append(head, "CPU s a million at "+FormatSize(sizes[0])))
	for _, name := range v.Settings.Peers {
		row, any := []string{"`" + name + "`"}, false
		for _, s := range sizes {
			f := v.Get(name, work, s, Pinned)
			switch {
			case f == nil:
				row = append(row, "–", "–")
				continue
			case s <= messageSize:
				row = append(row, formatRate(f.Rate.Median), formatRate(f.Rate.Min)+" to "+formatRate(f.Rate.Max))
			default:
				row = append(row, formatBytes(f.Bytes.Median), formatBytes(f.Bytes.Min)+" to "+formatBytes(f.Bytes.Max))
			}
			any = true
		}
		cpu := "–"
		if f := v.Get(name, work, sizes[0], Pinned); f != nil {
			cpu = digits(f.CPU.Median)
		}
		if any {
			w.add(append(row, cpu))
		}
	}
	return w.String()
}

// Failed lists what came to nothing.
func (v *pageView) Failed() string {
	var b strings.Builder
	for _, f := range v.Failures {
		first, _, _ := strings.Cut(f.Error, "\n")
		fmt.Fprintf(&b, "- round %d, %s: %s\n", f.Round, f.Cell, first)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// grid writes a Markdown table.
type grid struct{ b strings.Builder }

func newGrid(head []string) *grid {
	w := new(grid)
	w.add(head)
	w.b.WriteString("|" + strings.Repeat("---|", len(head)) + "\n")
	return w
}

func (w *grid) add(row []string) { w.b.WriteString("| " + strings.Join(row, " | ") + " |\n") }

// String returns the table, without the last line's end.
func (w *grid) String() string { return strings.TrimSuffix(w.b.String(), "\n") }
