package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gdamore/tcell/v2"

	"github.com/cell-runtime/cell/metrics"
)

func instruments(n int) (all []instrument) {
	for i := range n {
		all = append(all, instrument{Process: "p", Alive: true, Name: "cell_rpc_server_calls", Labels: map[string]string{"method": fmt.Sprintf("S.M%02d", i)},
			Kind: "counter", Value: int64(i), Rate: float64(i)})
	}
	return all
}

func keyOf(r rune) *tcell.EventKey { return tcell.NewEventKey(tcell.KeyRune, r, 0) }

func text(lines []screenLine) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

func TestTopViewFitsAnyScreen(t *testing.T) {
	for _, size := range [][2]int{{0, 0}, {1, 1}, {10, 2}, {40, 5}, {80, 24}, {300, 100}} {
		for _, help := range []bool{false, true} {
			v := &topView{all: instruments(50), help: help}
			lines := v.render(size[0], size[1])
			if len(lines) > size[1] {
				t.Errorf("%v: %d lines", size, len(lines))
			}
			for _, l := range lines {
				if len([]rune(l.text)) > size[0] {
					t.Errorf("%v: %q is too wide", size, l.text)
				}
			}
		}
	}
}

func TestTopBeginsWhereThereIsSomething(t *testing.T) {
	cells := []instrument{{Process: "node", Alive: true, Name: "cell_node_state", Labels: map[string]string{"cell": "a"}, Kind: "gauge", Value: 2}}
	for name, tc := range map[string]struct {
		all  []instrument
		page string
	}{"methods": {instruments(3), "methods"}, "cells alone": {cells, "cells"}, "nothing": {nil, "methods"}} {
		v := &topView{all: tc.all}
		if v.begin(); topPages[v.page].name != tc.page {
			t.Errorf("%s: it begins with %s", name, topPages[v.page].name)
		}
	}
}

func TestTopViewKeys(t *testing.T) {
	for name, tc := range map[string]struct {
		keys      []*tcell.EventKey
		first     string // what the first row begins with
		has, lack string
		over      bool
	}{
		"the busiest is first": {nil, "S.M49", "", "", false},
		"turned round":         {[]*tcell.EventKey{keyOf('S')}, "S.M00", "▲", "", false},
		"one down":             {[]*tcell.EventKey{keyOf('j')}, "S.M48", "", "S.M49", false},
		"down and up":          {[]*tcell.EventKey{keyOf('j'), keyOf('k'), keyOf('k')}, "S.M49", "", "", false},
		"the end":              {[]*tcell.EventKey{tcell.NewEventKey(tcell.KeyEnd, 0, 0)}, "", "S.M00", "S.M49", false},
		"a filter":             {[]*tcell.EventKey{keyOf('/'), keyOf('M'), keyOf('0'), keyOf('3')}, "S.M03", "only lines with: M03_", "S.M04", false},
		"a filter dropped":     {[]*tcell.EventKey{keyOf('/'), keyOf('x'), tcell.NewEventKey(tcell.KeyEscape, 0, 0)}, "S.M49", "", "only", false},
		"q in a filter":        {[]*tcell.EventKey{keyOf('/'), keyOf('q')}, "", "nothing to show", "", false},
		"paused":               {[]*tcell.EventKey{keyOf('p')}, "S.M49", "PAUSED", "", false},
		"leave":                {[]*tcell.EventKey{keyOf('q')}, "S.M49", "", "", true},
		"ctrl-C":               {[]*tcell.EventKey{tcell.NewEventKey(tcell.KeyCtrlC, 0, 0)}, "S.M49", "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			v := &topView{all: instruments(50), sort: 2}
			over := false
			for _, k := range tc.keys {
				v.render(80, 24)
				over = v.press(k)
			}
			lines := v.render(80, 24)
			if got := lines[3].text; !strings.HasPrefix(got, tc.first) {
				t.Errorf("the first row is %q", got)
			}
			all := text(lines)
			if !strings.Contains(all, tc.has) || tc.lack != "" && strings.Contains(all, tc.lack) || over != tc.over {
				t.Errorf("over %v:\n%s", over, all)
			}
		})
	}
}

func TestTopPages(t *testing.T) {
	all := append(instruments(1),
		instrument{Process: "p", Alive: true, Name: "cell_rpc_server_seconds", Labels: map[string]string{"method": "S.M00"}, Kind: "histogram", Unit: "ns", Times: &metrics.Summary{Count: 1, P50: 1500, Max: 2_000_000}},
		instrument{Process: "p", Alive: true, Name: "cell_rpc_client_seconds", Labels: map[string]string{"method": "T.N"}, Kind: "histogram", Rate: 12_345},
		instrument{Process: "p", Alive: false, Writer: "e", Name: "cell_engine_vesicles", Kind: "counter", Rate: 2_500_000},
		instrument{Process: "node", Alive: true, Name: "cell_node_state", Labels: map[string]string{"cell": "ledger"}, Kind: "gauge", Value: 2},
		instrument{Process: "node", Alive: true, Name: "cell_node_memory", Labels: map[string]string{"cell": "ledger"}, Kind: "gauge", Value: 3 << 20},
	)
	for page, want := range []string{"1.5µs", "12.3k", "p (ended)", "ready", "cell_node_memory{cell=ledger}"} {
		v := &topView{page: page}
		v.see(all, errors.New("one\ntwo"))
		if got := text(v.render(160, 24)); !strings.Contains(got, want) || !strings.Contains(got, "one; two") {
			t.Errorf("page %d lacks %q:\n%s", page, want, got)
		}
		if len(topPages[page].rows(all)) == 0 {
			t.Errorf("page %d is empty", page)
		}
		for _, r := range topPages[page].rows(all) {
			if len(r.cells) != len(topPages[page].columns) || len(r.keys) != len(r.cells) {
				t.Errorf("page %d: %d cells for %d columns", page, len(r.cells), len(topPages[page].columns))
			}
		}
	}
}
