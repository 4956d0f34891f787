package hdr

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/cell-runtime/cell/metrics"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var options = map[string]metrics.HistogramOptions{
	"defaults":      {},
	"one digit":     {Digits: 1},
	"two digits":    {Digits: 2, Highest: 1e9},
	"four digits":   {Digits: 4, Highest: 1e8},
	"five digits":   {Digits: 5, Highest: 1e6},
	"microseconds":  {Lowest: 1000, Highest: 3600e9},
	"odd lowest":    {Lowest: 777, Highest: 123456789},
	"whole range":   {Highest: math.MaxInt64},
	"at a boundary": {Highest: 4096, Digits: 2},
	"tiny":          {Lowest: 1, Highest: 2, Digits: 1},
}

// feed records n values of many magnitudes, the edges of the range among
// them, into a histogram of ours and into one of hdrhistogram-go.
func feed(t *testing.T, o metrics.HistogramOptions, n int) (*metrics.Distribution, *hdrhistogram.Histogram) {
	t.Helper()
	ours := must(metrics.NewHistogram(o))
	o = ours.Options()
	theirs := hdrhistogram.New(o.Lowest, o.Highest, o.Digits)
	r := rand.New(rand.NewPCG(uint64(o.Digits), uint64(n)))
	record := func(v int64) {
		ours.Record(v)
		if err := theirs.RecordValue(v); err != nil {
			t.Fatal(err)
		}
	}
	if n > 0 {
		record(0)
		record(o.Highest)
	}
	for range n {
		record(r.Int64N(o.Highest) >> r.IntN(40))
	}
	return ours.Snapshot(), theirs
}

var percentiles = []float64{-5, 0, 0.001, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 99.999, 99.9999, 100, 200, math.NaN()}

func TestAgreesWithHDRExactly(t *testing.T) {
	for name, o := range options {
		for _, n := range []int{0, 1, 7, 1000, 30_000} {
			if o.Digits >= 4 && n != 1000 {
				continue // hundreds of thousands of buckets: once is enough
			}
			t.Run(fmt.Sprintf("%s, %d values", name, n), func(t *testing.T) {
				d, h := feed(t, o, n)
				if c := ToHDR(d); !c.Equals(h) {
					t.Error("the exported histogram differs from one fed directly")
				}
				for _, p := range percentiles {
					if got, want := d.Percentile(p), h.ValueAtPercentile(p); got != want {
						t.Errorf("percentile %v: %d, want %d", p, got, want)
					}
				}
				if got, want := d.Mean(), h.Mean(); got != want {
					t.Errorf("mean %v, want %v", got, want)
				}
				if got, want := d.StdDev(), h.StdDev(); got != want {
					t.Errorf("standard deviation %v, want %v", got, want)
				}
				if n == 0 {
					return
				}
				if !h.ValuesAreEquivalent(d.Max(), h.Max()) || !h.ValuesAreEquivalent(d.Min(), h.Min()) {
					t.Errorf("%d to %d, want the buckets of %d to %d", d.Min(), d.Max(), h.Min(), h.Max())
				}
				for _, ticks := range []int{1, 5, 20} {
					comparePoints(t, d.Points(ticks), h.CumulativeDistributionWithTicks(int32(ticks)))
				}
			})
		}
	}
}

func comparePoints(t *testing.T, got []metrics.Point, want []hdrhistogram.Bracket) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d points, want %d", len(got), len(want))
		return
	}
	for i, g := range got {
		w := want[i]
		if g.Percentile != w.Quantile || g.Value != w.ValueAt || g.Count != uint64(w.Count) {
			t.Errorf("point %d: %+v, want %+v", i, g, w)
			return
		}
	}
}

func TestMergeAndSubAgreeWithHDR(t *testing.T) {
	for name, o := range options {
		t.Run(name, func(t *testing.T) {
			a, ha := feed(t, o, 500)
			b, hb := feed(t, o, 3000)
			if err := a.Merge(b); err != nil {
				t.Fatal(err)
			}
			ha.Merge(hb)
			if !ToHDR(a).Equals(ha) {
				t.Error("merged: they differ")
			}
			if err := a.Sub(b); err != nil {
				t.Fatal(err)
			}
			if _, h := feed(t, o, 500); !ToHDR(a).Equals(h) {
				t.Error("subtracted: they differ")
			}
		})
	}
}

func TestConversionRoundTrip(t *testing.T) {
	for name, o := range options {
		d, _ := feed(t, o, 1000)
		back := must(FromHDR(ToHDR(d)))
		if back.Options() != d.Options() || !slices.Equal(back.Counts(), d.Counts()) || back.Count() != d.Count() {
			t.Errorf("%s: another distribution came back", name)
		}
	}
}

func TestFromHDRRefuses(t *testing.T) {
	for name, h := range map[string]*hdrhistogram.Histogram{
		"no digits":     hdrhistogram.Import(&hdrhistogram.Snapshot{LowestTrackableValue: 1, HighestTrackableValue: 100}),
		"no range":      hdrhistogram.New(1, 0, 3),
		"highest low":   hdrhistogram.New(10, 15, 3),
		"lowest beyond": hdrhistogram.New(1<<50, 1<<60, 1),
	} {
		if _, err := FromHDR(h); !errors.Is(err, metrics.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestHGRMRoundTrip(t *testing.T) {
	d, _ := feed(t, metrics.HistogramOptions{}, 10_000)
	var b bytes.Buffer
	if err := WriteHGRM(&b, d, 5, 1000); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "#[Max") {
		t.Errorf("no footer in %q", b.String())
	}
	lines := must(ReadHGRM(&b))
	points := d.Points(5)
	if len(lines) != len(points) {
		t.Fatalf("%d lines, want %d", len(lines), len(points))
	}
	for i, l := range lines {
		p := points[i]
		// The format keeps three decimals of the value and six of the fraction.
		if math.Abs(l.Value*1000-float64(p.Value)) > 0.51 || math.Abs(l.Percentile-p.Percentile) > 5.1e-5 || l.Count != p.Count {
			t.Errorf("line %d: %+v, want %+v", i, l, p)
		}
	}
}

func TestWriteHGRMRefuses(t *testing.T) {
	d, _ := feed(t, metrics.HistogramOptions{}, 1)
	for _, c := range []struct {
		ticks int
		scale float64
	}{{0, 1}, {101, 1}, {5, 0}, {5, -1}, {5, math.NaN()}, {5, math.Inf(1)}} {
		if err := WriteHGRM(io.Discard, d, c.ticks, c.scale); !errors.Is(err, metrics.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", c, err)
		}
	}
}

func TestReadHGRM(t *testing.T) {
	java := "       Value     Percentile TotalCount 1/(1-Percentile)\n\n" +
		"       0.300 0.000000000000          1           1.00\n" +
		"       1.000 0.500000000000          3           2.00\n" +
		"       9.000 1.000000000000          4\n" +
		"#[Mean    =        2.825, StdDeviation   =        3.576]\n"
	want := []Line{{0.3, 0, 1}, {1, 50, 3}, {9, 100, 4}}
	if got := must(ReadHGRM(strings.NewReader(java))); !slices.Equal(got, want) {
		t.Errorf("Java's form: %v, want %v", got, want)
	}
	for name, text := range map[string]string{
		"empty":                 "",
		"prose":                 "to be or not to be\n",
		"two columns":           "1 0.5\n",
		"five columns":          "1 0.5 2 2 2\n",
		"negative value":        "-1 0.5 2 2\n",
		"value not a number":    "NaN 0.5 2 2\n",
		"infinite value":        "inf 0.5 2 2\n",
		"percentile above one":  "1 1.5 2 2\n",
		"percentile NaN":        "1 nan 2 2\n",
		"negative count":        "1 0.5 -2 2\n",
		"percentiles backwards": "1 0.5 2 2\n2 0.4 3 2\n",
		"values backwards":      "2 0.5 2 2\n1 0.6 3 2\n",
		"endless":               strings.Repeat("1 0.5 2 2\n", maxPoints+1),
	} {
		if _, err := ReadHGRM(strings.NewReader(text)); !errors.Is(err, ErrHGRM) {
			t.Errorf("%s: %v, want ErrHGRM", name, err)
		}
	}
}

func TestLogRoundTrip(t *testing.T) {
	start := time.UnixMilli(1_700_000_000_000)
	var b bytes.Buffer
	l := must(NewLogWriter(&b, start))
	var want []Interval
	for i, o := range []metrics.HistogramOptions{{}, {Digits: 1}, {Lowest: 1000, Digits: 2}} {
		for _, n := range []int{0, 5000} {
			d, _ := feed(t, o, n)
			from := start.Add(time.Duration(i) * time.Second)
			w := Interval{Tag: []string{"", "rtt", "send"}[i], From: from, To: from.Add(500 * time.Millisecond), Distribution: d}
			if err := l.Append(d, w.Tag, w.From, w.To); err != nil {
				t.Fatal(err)
			}
			want = append(want, w)
		}
	}
	i := 0
	if err := ReadLog(&b, func(got Interval) error {
		w := want[i]
		if got.Tag != w.Tag || !got.From.Equal(w.From) || !got.To.Equal(w.To) {
			t.Errorf("interval %d: %q %v %v, want %q %v %v", i, got.Tag, got.From, got.To, w.Tag, w.From, w.To)
		}
		if !slices.Equal(got.Distribution.Counts(), w.Distribution.Counts()) || got.Distribution.Options() != w.Distribution.Options() {
			t.Errorf("interval %d: another distribution came back", i)
		}
		i++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if i != len(want) {
		t.Errorf("%d intervals, want %d", i, len(want))
	}
}

func TestLogRefuses(t *testing.T) {
	d, _ := feed(t, metrics.HistogramOptions{}, 1)
	var b bytes.Buffer
	now := time.Now()
	l := must(NewLogWriter(&b, now))
	for _, tag := range []string{"a,b", "a b", " ", "a\nb"} {
		if err := l.Append(d, tag, now, now); !errors.Is(err, metrics.ErrInvalid) {
			t.Errorf("tag %q: %v, want ErrInvalid", tag, err)
		}
	}
	if err := ReadLog(strings.NewReader("0.1,1.0,2.0,HISTFgarbage\n"), func(Interval) error { return nil }); !errors.Is(err, ErrLog) {
		t.Errorf("garbage: %v, want ErrLog", err)
	}
	if err := l.Append(d, "", now, now); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := ReadLog(&b, func(Interval) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("callback's error: %v", err)
	}
	if _, err := NewLogWriter(failing{}, now); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
	if err := WriteHGRM(failing{}, d, 5, 1); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
}

var errFull = errors.New("no space")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }

func FuzzReadHGRM(f *testing.F) {
	f.Add("Value Percentile TotalCount 1/(1-Percentile)\n1.0 0.5 2 2.00\n#[Mean]")
	f.Add("1 1 18446744073709551615 inf")
	f.Fuzz(func(t *testing.T, s string) {
		lines, err := ReadHGRM(strings.NewReader(s))
		if (err == nil) == (len(lines) == 0) {
			t.Errorf("%d lines and error %v", len(lines), err)
		}
	})
}

func FuzzReadLog(f *testing.F) {
	d, _ := feedForFuzz()
	var b bytes.Buffer
	l := must(NewLogWriter(&b, time.Unix(0, 0)))
	if err := l.Append(d, "tag", time.Unix(1, 0), time.Unix(2, 0)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add("Tag=,,,\n")
	f.Fuzz(func(t *testing.T, s string) {
		_ = ReadLog(strings.NewReader(s), func(i Interval) error {
			_ = i.Distribution.Summary()
			return nil
		})
	})
}

func feedForFuzz() (*metrics.Distribution, error) {
	h, err := metrics.NewHistogram(metrics.HistogramOptions{Digits: 1, Highest: 1000})
	if err != nil {
		return nil, err
	}
	h.Record(7)
	return h.Snapshot(), nil
}

func ExampleToHDR() {
	h, err := metrics.NewHistogram(metrics.HistogramOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for v := int64(1); v <= 10_000; v++ {
		h.Record(v)
	}
	d := h.Snapshot()
	fmt.Println(d.Percentile(99), ToHDR(d).ValueAtPercentile(99))
	// Output: 9903 9903
}
