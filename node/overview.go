package node

import (
	"context"
	"math/bits"
	"time"

	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/node/ops"
)

// overview is what the page shows.
type overview struct {
	At    int64          `json:"at"` // Unix milliseconds
	PID   int32          `json:"pid"`
	Since int64          `json:"since"`
	Dir   string         `json:"dir"`
	Cells []overviewCell `json:"cells"`
	Links []overviewLink `json:"links"`
	Times []overviewTime `json:"times"`
	Audit []auditEntry   `json:"audit"`
}

type overviewCell struct {
	ops.CellState
	Versions []ops.Version `json:"all_versions"`
}

// overviewLink is a link of the node's own engine.
type overviewLink struct {
	Kind     string   `json:"kind"`
	Peer     string   `json:"peer"`
	ZeroCopy bool     `json:"zero_copy"`
	Why      []string `json:"why"`
	Received uint64   `json:"received"`
	Sent     uint64   `json:"sent"`
}

// overviewTime is a histogram since the start of its process, by powers of two:
// the page takes one look from the next.
type overviewTime struct {
	Name    string   `json:"name"`
	Process string   `json:"process"`
	Label   string   `json:"label"`
	Count   uint64   `json:"count"`
	Buckets []uint64 `json:"buckets"` // [k]: from 2^k to 2^(k+1)-1 ns
	P50     int64    `json:"p50"`
	P99     int64    `json:"p99"`
	P999    int64    `json:"p999"`
	Max     int64    `json:"max"`
}

// auditShown is how many entries the page shows.
const auditShown = 50

func (n *Node) overview() overview {
	state := n.State()
	o := overview{At: time.Now().UnixMilli(), PID: state.PID, Since: state.Since / int64(time.Millisecond), Dir: n.dir,
		Cells: []overviewCell{}, Links: []overviewLink{}, Times: []overviewTime{}, Audit: []auditEntry{}}
	for _, c := range state.Cells {
		versions, _ := operator{n}.Versions(context.Background(), ops.Name{Cell: c.Name})
		o.Cells = append(o.Cells, overviewCell{c, versions.Versions})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if ports, err := n.engine.Ports(ctx); err == nil {
		for _, p := range ports {
			o.Links = append(o.Links, overviewLink{Kind: p.Info.Kind, Peer: p.Info.Peer.Addr, ZeroCopy: p.Info.ZeroCopy, Why: append([]string{}, p.Info.Why...),
				Received: p.Receive.Vesicles, Sent: p.Send.Vesicles})
		}
	}
	for _, s := range n.allMetrics().Samples {
		if s.Kind == metrics.KindHistogram && s.Unit == "ns" && s.Histogram.Count() > 0 {
			o.Times = append(o.Times, timeOf(s))
		}
	}
	all := n.audit.all()
	o.Audit = append(o.Audit, all[max(0, len(all)-auditShown):]...)
	return o
}

func timeOf(s metrics.Sample) overviewTime {
	t := overviewTime{Name: s.Name, Buckets: make([]uint64, 40)}
	for _, l := range s.Labels {
		switch l.Name {
		case "process":
			t.Process = l.Value
		case "region":
		default:
			t.Label = l.Value
		}
	}
	for b := range s.Histogram.Buckets() {
		k := min(max(bits.Len64(uint64(b.Low))-1, 0), len(t.Buckets)-1)
		t.Buckets[k] += b.Count
	}
	sum := s.Histogram.Summary()
	t.Count, t.P50, t.P99, t.P999, t.Max = sum.Count, sum.P50, sum.P99, sum.P999, sum.Max
	return t
}
