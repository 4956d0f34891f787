package cli

import (
	"fmt"

	"github.com/cell-runtime/cell/metrics"
)

// topPage is one table of top.
type topPage struct {
	name    string
	columns []string
	sort    int    // column at first
	empty   string // why there may be nothing
	rows    func([]instrument) []topRow
}

// topRow is a line of it. keys are what columns are sorted by, 0 for text.
type topRow struct {
	cells []string
	keys  []float64
	bad   bool
}

// add adds a number and how it looks.
func (r *topRow) add(key float64, text string) {
	r.cells, r.keys = append(r.cells, text), append(r.keys, key)
}

func (r *topRow) text(s string) { r.add(0, s) }

func (r *topRow) rate(perSecond float64) {
	text := "-"
	switch {
	case perSecond >= 1e6:
		text = fmt.Sprintf("%.2fM", perSecond/1e6)
	case perSecond >= 1e4:
		text = fmt.Sprintf("%.1fk", perSecond/1e3)
	case perSecond > 0:
		text = fmt.Sprintf("%.1f", perSecond)
	}
	r.add(perSecond, text)
}

func (r *topRow) times(s *metrics.Summary) {
	if s == nil {
		s = &metrics.Summary{}
	}
	for _, v := range []int64{s.P50, s.P99, s.P999, s.Max} {
		r.add(float64(v), took(v))
	}
}

var topPages = []topPage{
	{"methods", []string{"METHOD", "PROCESS", "CALLS/S", "CALLS", "P50", "P99", "P99.9", "MAX"}, 2,
		"no server with metrics, which cells in sandboxes do not show; inline handlers have counts and no times", methodRows},
	{"clients", []string{"METHOD", "PROCESS", "CALLS/S", "CALLS", "P50", "P99", "P99.9", "MAX"}, 2,
		"no client with metrics", clientRows},
	{"engines", []string{"ENGINE", "PROCESS", "VESICLES/S", "STALLS", "STALLS/S", "LONGEST", "LINKS", "PANICS", "DROPPED"}, 2,
		"no engine with metrics", engineRows},
	{"cells", []string{"CELL", "STATE", "UP", "RESTARTS", "CPU", "MEMORY", "HEALTH P50", "HEALTH P99"}, 0,
		"no node runs here (cellnode run)", cellRows},
	{"everything", []string{"INSTRUMENT", "PROCESS", "RATE/S", "VALUE", "P50", "P99", "P99.9", "MAX"}, 2,
		"start a process with metrics in the runtime directory", everyRow},
}

func processName(i instrument) string {
	if !i.Alive {
		return i.Process + " (ended)"
	}
	return i.Process
}

// methodRows joins counters and times of each method of each server.
func methodRows(all []instrument) (rows []topRow) {
	for _, i := range all {
		if i.Name != "cell_rpc_server_calls" {
			continue
		}
		r := topRow{bad: !i.Alive}
		r.text(i.Labels["method"])
		r.text(processName(i))
		r.rate(i.Rate)
		r.add(float64(i.Value), fmt.Sprint(i.Value))
		took := find(all, i, "cell_rpc_server_seconds")
		if took.Name == "" { // an inline handler's, a sample
			took = find(all, i, "cell_rpc_server_inline_seconds")
		}
		r.times(took.Times)
		rows = append(rows, r)
	}
	return rows
}

func clientRows(all []instrument) (rows []topRow) {
	for _, i := range all {
		if i.Name != "cell_rpc_client_seconds" {
			continue
		}
		r := topRow{bad: !i.Alive}
		r.text(i.Labels["method"])
		r.text(processName(i))
		r.rate(i.Rate)
		r.add(float64(i.Value), fmt.Sprint(i.Value))
		r.times(i.Times)
		rows = append(rows, r)
	}
	return rows
}

func engineRows(all []instrument) (rows []topRow) {
	for _, i := range all {
		if i.Name != "cell_engine_vesicles" {
			continue
		}
		stalls, panics := find(all, i, "cell_engine_stalls"), find(all, i, "cell_engine_panics")
		r := topRow{bad: !i.Alive || panics.Value > 0}
		r.text(i.Writer)
		r.text(processName(i))
		r.rate(i.Rate)
		r.add(float64(stalls.Value), fmt.Sprint(stalls.Value))
		r.rate(stalls.Rate)
		longest := find(all, i, "cell_engine_longest_cycle").Value
		r.add(float64(longest), took(longest))
		for _, name := range []string{"cell_engine_links", "cell_engine_panics", "cell_engine_dropped"} {
			v := find(all, i, name).Value
			r.add(float64(v), fmt.Sprint(v))
		}
		rows = append(rows, r)
	}
	return rows
}

// find returns the instrument of another name with the labels, writer and
// process of one, or the zero one.
func find(all []instrument, like instrument, name string) instrument {
	for _, i := range all {
		if i.Name == name && i.Process == like.Process && i.Writer == like.Writer && sameLabels(i, like) {
			return i
		}
	}
	return instrument{}
}

func sameLabels(a, b instrument) bool {
	if len(a.Labels) != len(b.Labels) {
		return false
	}
	for name, value := range a.Labels {
		if b.Labels[name] != value {
			return false
		}
	}
	return true
}

func everyRow(all []instrument) (rows []topRow) {
	for _, i := range all {
		r := topRow{bad: !i.Alive}
		r.text(i.label())
		r.text(processName(i))
		r.rate(i.Rate)
		r.add(float64(i.Value), fmt.Sprint(i.Value))
		if i.Unit == "ns" || i.Times == nil {
			r.times(i.Times)
		} else {
			for _, v := range []int64{i.Times.P50, i.Times.P99, i.Times.P999, i.Times.Max} {
				r.add(float64(v), fmt.Sprint(v))
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// cellRows are a node's cells, from its own metrics.
func cellRows(all []instrument) (rows []topRow) {
	for _, i := range all {
		if i.Name != "cell_node_state" {
			continue
		}
		r := topRow{}
		r.text(i.Labels["cell"])
		state := "unknown"
		if n := int(i.Value); n >= 0 && n < len(cellStates) {
			state = cellStates[n]
		}
		r.bad = !i.Alive || state == "failed"
		r.text(state)
		for _, name := range []string{"cell_node_up", "cell_node_restarts", "cell_node_cpu", "cell_node_memory"} {
			v := find(all, i, name)
			text := fmt.Sprint(v.Value)
			switch name {
			case "cell_node_up", "cell_node_cpu":
				text = age(v.Value)
			case "cell_node_memory":
				text = fmt.Sprintf("%.1f MiB", float64(v.Value)/(1<<20))
			}
			r.add(float64(v.Value), text)
		}
		health := find(all, i, "cell_node_health").Times
		if health == nil {
			health = &metrics.Summary{}
		}
		r.add(float64(health.P50), took(health.P50))
		r.add(float64(health.P99), took(health.P99))
		rows = append(rows, r)
	}
	return rows
}

// cellStates are the values of the gauge cell_node_state.
var cellStates = []string{"asleep", "starting", "ready", "draining", "waiting", "failed"}
