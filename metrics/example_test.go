package metrics_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cell-runtime/cell/metrics"
)

// One process writes, another reads. Here both are this one.
func Example() {
	dir, err := os.MkdirTemp("", "metrics")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "node.metrics")

	f, err := metrics.Create(path, metrics.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	calls, err := f.Counter("calls_total", "Calls served.", "", metrics.L("link", "ring"))
	if err != nil {
		fmt.Println(err)
		return
	}
	calls.Add(3)

	r, err := metrics.Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	s, err := r.Snapshot()
	if err != nil {
		fmt.Println(err)
		return
	}
	m, _ := s.Find("calls_total")
	fmt.Println(m.Name, m.Labels, m.Counter)
	// Output: calls_total [{link ring}] 3
}

// A histogram outside of any file, as a benchmark uses it.
func ExampleNewHistogram() {
	h, err := metrics.NewHistogram(metrics.HistogramOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for v := int64(1); v <= 100_000; v++ {
		h.Record(v)
	}
	s := h.Snapshot().Summary()
	fmt.Println(s.Count, s.Min, s.P50, s.P99, s.Max)
	// Output: 100000 1 50015 99007 100000
}

// What happened in an interval is the difference of two snapshots.
func ExampleDistribution_Sub() {
	h, err := metrics.NewHistogram(metrics.HistogramOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	h.Record(1_000_000)
	earlier := h.Snapshot()
	h.Record(10)
	h.Record(20)
	d := h.Snapshot()
	if err := d.Sub(earlier); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(d.Count(), d.Min(), d.Max())
	// Output: 2 10 20
}

// Two threads count the same thing, each in its own region.
func ExampleSnapshot_Merged() {
	f, err := metrics.Anonymous(metrics.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, name := range []string{"core2", "core3"} {
		w, err := f.Writer(name)
		if err != nil {
			fmt.Println(err)
			return
		}
		c, err := w.Counter("polls_total", "Duty cycles.", "")
		if err != nil {
			fmt.Println(err)
			return
		}
		c.Add(uint64(10 + i))
	}
	s, err := f.Snapshot()
	if err != nil {
		fmt.Println(err)
		return
	}
	if s, err = s.Merged(); err != nil {
		fmt.Println(err)
		return
	}
	m, _ := s.Find("polls_total")
	fmt.Println(m.Counter)
	// Output: 21
}

func ExampleWritePrometheus() {
	f, err := metrics.Anonymous(metrics.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	g, err := f.Gauge("queue_bytes", "Bytes waiting.", "bytes", metrics.L("peer", `a"b`))
	if err != nil {
		fmt.Println(err)
		return
	}
	g.Set(512)
	h, err := f.Histogram("rtt", "Round trip.", "ns", metrics.HistogramOptions{Highest: 8, Digits: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	h.Record(2)
	h.Record(3)
	h.Record(7)
	s, err := f.Snapshot()
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := metrics.WritePrometheus(os.Stdout, s); err != nil {
		fmt.Println(err)
	}
	// Output:
	// # HELP queue_bytes Bytes waiting. [bytes]
	// # TYPE queue_bytes gauge
	// queue_bytes{peer="a\"b"} 512
	// # HELP rtt Round trip. [ns]
	// # TYPE rtt histogram
	// rtt_bucket{le="0"} 0
	// rtt_bucket{le="1"} 0
	// rtt_bucket{le="3"} 2
	// rtt_bucket{le="7"} 3
	// rtt_bucket{le="+Inf"} 3
	// rtt_sum 12
	// rtt_count 3
}
