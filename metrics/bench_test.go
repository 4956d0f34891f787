package metrics

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// values are latencies as a ring has them: mostly near one value, with a tail.
func values(n int) []int64 {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]int64, n)
	for i := range out {
		out[i] = 100 + int64(r.ExpFloat64()*50)
		if i%1000 == 0 {
			out[i] *= 1000
		}
	}
	return out
}

func BenchmarkHistogramRecord(b *testing.B) {
	h, err := NewHistogram(HistogramOptions{})
	if err != nil {
		b.Fatal(err)
	}
	vs := values(4096)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		h.Record(vs[i&4095])
		i++
	}
}

// In a mapped file on a tmpfs, as an engine has it.
func BenchmarkHistogramRecordMapped(b *testing.B) {
	dir, err := os.MkdirTemp("/dev/shm", "metrics")
	if err != nil {
		b.Skip("needs a tmpfs at /dev/shm: ", err)
	}
	defer os.RemoveAll(dir)
	f := must(Create(filepath.Join(dir, "m"), Options{}))
	defer f.Close()
	h := must(f.Histogram("h", "", "ns", HistogramOptions{}))
	vs := values(4096)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		h.Record(vs[i&4095])
		i++
	}
}

func BenchmarkCounterAdd(b *testing.B) {
	f := must(Anonymous(Options{}))
	c := must(f.Counter("c_total", "", ""))
	b.ReportAllocs()
	for b.Loop() {
		c.Add(1)
	}
}

func BenchmarkGaugeSet(b *testing.B) {
	f := must(Anonymous(Options{}))
	g := must(f.Gauge("g", "", ""))
	b.ReportAllocs()
	v := int64(0)
	for b.Loop() {
		v++
		g.Set(v)
	}
}

func BenchmarkSharedCounterAdd(b *testing.B) {
	f := must(Anonymous(Options{}))
	c := must(f.SharedCounter("c_total", "", ""))
	b.ReportAllocs()
	for b.Loop() {
		c.Add(1)
	}
}

func BenchmarkHistogramSnapshot(b *testing.B) {
	h := must(NewHistogram(HistogramOptions{}))
	for _, v := range values(4096) {
		h.Record(v)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = h.Snapshot()
	}
}

// must is for tests and benchmarks whose set-up can't fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
