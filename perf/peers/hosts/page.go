package main

import (
	"fmt"
	"io"
	"slices"
)

// columns of each work's table.
var columns = map[string][]string{
	"rtt":   {"p50 µs", "p99 µs", "calls/s"},
	"small": {"p50 µs", "p99 µs", "max µs", "calls/s"},
	"bulk":  {"MB/s", "Mbit/s"},
	"move":  {"calls before", "calls after", "failed", "longest ms"},
}

var titles = map[string]string{
	"rtt":   "One caller, 64 bytes each way",
	"small": "Small calls, 200 a second, 64 bytes each way",
	"bulk":  "Bulk, one direction",
	"move":  "The calling host's address changes while eight callers make calls",
}

// page prints an outcome as Markdown: medians, with the least and the most of
// all rounds.
func (o outcome) page(w io.Writer) error {
	fmt.Fprintf(w, "## %s\n", o.Scene)
	for _, work := range []string{"rtt", "small", "bulk", "move"} {
		var who []string
		values := map[string]map[string][]float64{}
		for _, m := range o.Results {
			if m.Work != work {
				continue
			}
			if values[m.Who] == nil {
				who = append(who, m.Who)
				values[m.Who] = map[string][]float64{}
			}
			for what, v := range m.Values {
				values[m.Who][what] = append(values[m.Who][what], v)
			}
			if v, ok := m.Values["MB/s"]; ok {
				values[m.Who]["Mbit/s"] = append(values[m.Who]["Mbit/s"], 8*v)
			}
		}
		if len(who) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n\n| |", titles[work])
		for _, what := range columns[work] {
			fmt.Fprintf(w, " %s |", what)
		}
		fmt.Fprint(w, "\n|---|")
		for range columns[work] {
			fmt.Fprint(w, "---|")
		}
		fmt.Fprintln(w)
		for _, name := range who {
			fmt.Fprintf(w, "| `%s` |", name)
			for _, what := range columns[work] {
				fmt.Fprintf(w, " %s |", spread(values[name][what]))
			}
			fmt.Fprintln(w)
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// spread is a median with the least and the most.
func spread(v []float64) string {
	if len(v) == 0 {
		return "–"
	}
	slices.Sort(v)
	if len(v) == 1 {
		return figure(v[0])
	}
	return fmt.Sprintf("%s (%s–%s)", figure(v[len(v)/2]), figure(v[0]), figure(v[len(v)-1]))
}

func figure(x float64) string {
	if x < 100 && x != float64(int(x)) {
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}
