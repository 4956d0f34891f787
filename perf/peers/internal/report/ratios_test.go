package report

import (
	"strings"
	"testing"
)

// Each line names the best of those that it is about, whatever else is faster.
func TestRatios(t *testing.T) {
	r := &Report{Peers: []Peer{
		{Name: "cache-line", Family: "limit"}, {Name: "cell-rpc-ring", Family: "rpc"}, {Name: "cell-rpc-ring-call", Family: "rpc"},
		{Name: "cell-ring-raw", Family: "transport"}, {Name: "shmipc", Family: "transport"}, {Name: "shmipc-batched", Family: "transport"},
		{Name: "shmipc-lent", Family: "transport"}, {Name: "grpc-go", Family: "rpc"}, {Name: "drpc", Family: "rpc"},
	}}
	for _, s := range []struct {
		peer, work string
		size       int
		count      uint64
		p50        float64
	}{
		{"cache-line", "rtt", 64, 1, 100},
		{"cell-rpc-ring", "rtt", 64, 1, 200},
		{"cell-rpc-ring-call", "rtt", 64, 1, 300},
		{"shmipc", "rtt", 64, 1, 20_000}, // no rpc library
		{"grpc-go", "rtt", 64, 1, 120_000},
		{"drpc", "rtt", 64, 1, 40_000},
		{"cell-rpc-ring-call", "stream", 1 << 20, 30_000, 0},
		{"cell-ring-raw", "stream", 1 << 20, 90_000, 0}, // not another
		{"shmipc", "stream", 1 << 20, 5_000, 0},
		{"shmipc-batched", "stream", 1 << 20, 10_000, 0},
		{"shmipc-lent", "stream", 1 << 20, 20_000, 0},
	} {
		r.Samples = append(r.Samples, sample(1, s.peer, s.work, s.size, Pinned, s.count, s.p50))
	}
	v := view{Report: r, Table: Summarise(r, r.states()[0])}
	want := `| what | payload | Cell | the best of the others | times better |
|---|---|---|---|---|
| typed call, an engine on each side | 64 B | ` + "`cell-rpc-ring`, p50 200 ns | `drpc`, p50 40.0 µs" + ` | 200 |
| typed call of a goroutine that spins | 64 B | ` + "`cell-rpc-ring-call`, p50 300 ns | `grpc-go`, p50 120 µs" + ` | 400 |
| typed one-way calls | 1 MiB | ` + "`cell-rpc-ring-call`, 62.9 GB/s | `shmipc-batched`, 21.0 GB/s" + ` | 3.00 |
| typed one-way calls, the other with Cell's copy | 1 MiB | ` + "`cell-rpc-ring-call`, 62.9 GB/s | `shmipc-lent`, 41.9 GB/s" + ` | 1.50 |`
	if got := v.Ratios(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := (&view{Report: &Report{}}).Ratios(); strings.TrimSpace(got) != "" {
		t.Errorf("of nothing: %q", got)
	}
}
