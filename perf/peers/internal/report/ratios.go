package report

import (
	"slices"
	"strings"
)

// ratio is one line of the comparison that the page begins with: what Cell does
// beside the best of some others.
type ratio struct {
	what   string
	cell   string // Cell's row
	work   string
	size   int
	others func(Peer) bool
}

// lentTo are rows of other products that use something of Cell's.
var lentTo = []string{"shmipc-lent"}

func isCell(p Peer) bool  { return strings.HasPrefix(p.Name, "cell-") }
func isLimit(p Peer) bool { return p.Family == "limit" }

func rpcPeer(p Peer) bool  { return p.Family == "rpc" && !isCell(p) }
func anyPeer(p Peer) bool  { return !isCell(p) && !isLimit(p) && !slices.Contains(lentTo, p.Name) }
func lentPeer(p Peer) bool { return slices.Contains(lentTo, p.Name) }
func named(name string) func(Peer) bool {
	return func(p Peer) bool { return p.Name == name }
}

var ratios = []ratio{
	{"typed call, an engine on each side", "cell-rpc-ring", "rtt", 64, rpcPeer},
	{"typed call of a goroutine that spins", "cell-rpc-ring-call", "rtt", 64, named("grpc-go")},
	{"typed call, both sides asleep meanwhile", "cell-rpc-ring-park", "rtt", 64, named("grpc-go")},
	{"typed one-way calls", "cell-rpc-ring-call", "stream", 64 << 10, anyPeer},
	{"typed one-way calls", "cell-rpc-ring-call", "stream", 1 << 20, anyPeer},
	{"typed one-way calls, the other with Cell's copy", "cell-rpc-ring-call", "stream", 64 << 10, lentPeer},
	{"typed one-way calls, the other with Cell's copy", "cell-rpc-ring-call", "stream", 1 << 20, lentPeer},
}

// Ratios is the table of how many times better Cell is than the best of others;
// below 1 it is worse. Empty where nothing of that was measured.
func (v *view) Ratios() string {
	w, any := newGrid([]string{"what", "payload", "Cell", "the best of the others", "times better"}), false
	for i := range ratios {
		r := &ratios[i]
		cell, best := v.Get(r.cell, r.work, r.size, Pinned), v.best(r)
		if cell == nil || best == nil {
			continue
		}
		any = true
		mine, theirs := formatBytes(cell.Bytes.Median), formatBytes(best.Bytes.Median)
		better := cell.Bytes.Median / best.Bytes.Median
		if r.work == "rtt" {
			mine, theirs = "p50 "+formatNanos(cell.P50.Median), "p50 "+formatNanos(best.P50.Median)
			better = best.P50.Median / cell.P50.Median
		}
		w.add([]string{r.what, FormatSize(r.size), "`" + r.cell + "`, " + mine, "`" + best.Peer + "`, " + theirs, digits(better)})
	}
	if !any {
		return ""
	}
	return w.String()
}

// best returns the figures of the best of r's others, nil without any.
func (v *view) best(r *ratio) (best *Figures) {
	for _, p := range v.Peers {
		f := v.Get(p.Name, r.work, r.size, Pinned)
		if f == nil || !r.others(p) {
			continue
		}
		if best == nil || r.work == "rtt" && f.P50.Median < best.P50.Median || r.work != "rtt" && f.Bytes.Median > best.Bytes.Median {
			best = f
		}
	}
	return best
}
