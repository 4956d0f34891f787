package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample makes one measurement whose figures are easy to check.
func sample(round int, peer, work string, size int, p Placement, count uint64, p50 float64) Sample {
	s := Sample{Round: round, Peer: peer, Work: work, Size: size, Placement: p, Count: count,
		Elapsed: 500 * time.Millisecond, ClientCPU: 400 * time.Millisecond, ServerCPU: 100 * time.Millisecond}
	s.Line = [2]float64{100, 110}
	if work == "rtt" {
		s.Times = &Times{P50: p50, P90: 1.5 * p50, P99: 2 * p50, P999: 10 * p50, P9999: 50 * p50, Max: 100 * p50}
	}
	return s
}

// farFixture is fixture with a fourth round between far cores, and one
// measurement during which they came near.
func farFixture() *Report {
	r := fixture()
	for _, s := range r.Samples {
		if s.Round == 3 {
			s.Round, s.Line = 4, [2]float64{480, 520}
			if s.Times != nil {
				s.Times = &Times{P50: 5 * s.Times.P50, P90: 5 * s.Times.P90, P99: 5 * s.Times.P99, P999: 5 * s.Times.P999, P9999: 5 * s.Times.P9999, Max: 5 * s.Times.Max}
			}
			r.Samples = append(r.Samples, s)
		}
	}
	moved := sample(5, "cell-ring-raw", "rtt", 64, Pinned, 1, 1e9)
	moved.Line = [2]float64{500, 100}
	r.Samples = append(r.Samples, moved)
	return r
}

// fixture is a report of three rounds with three peers.
func fixture() *Report {
	r := &Report{
		Format: Format,
		Settings: Settings{Duration: 500 * time.Millisecond, Warmup: 100 * time.Millisecond, CPUs: [2]int{2, 3}, Window: 64,
			Works: []string{"rtt", "pipelined", "stream"}, Sizes: []int{64, 65536}, Placements: []Placement{Pinned, Free},
			Peers: []string{"cache-line", "cell-ring-raw", "a<b>"}},
		Host: Host{Kernel: "6.12.9", Arch: "amd64", CPU: "Example CPU", CPUs: 4, Virtual: true, Governor: "performance", Clock: "tsc", Go: "go1.26.0"},
		Peers: []Peer{
			{Name: "cache-line", Family: "limit", About: "the limit"},
			{Name: "cell-ring-raw", Family: "transport", About: "Cell"},
			{Name: "a<b>", Family: "rpc", About: "another", Module: "example.com/another", Version: "v1.2.3"},
		},
		Runs: []Run{
			{Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Commit: "0123456789abcdef0123"},
			{Started: time.Date(2026, 1, 3, 3, 4, 5, 0, time.UTC), Commit: "0123456789abcdef0123", Dirty: true},
		},
		Failures: []Failed{{Round: 3, Cell: "a<b> stream 64 KiB pinned", Error: "it broke\nat length"}},
	}
	for round := 1; round <= 3; round++ {
		x := float64(round)
		add := func(s Sample) {
			s.Run = round / 3
			r.Samples = append(r.Samples, s)
		}
		add(sample(round, "cache-line", "rtt", 64, Pinned, 5_000_000, 99+x))
		add(sample(round, "cell-ring-raw", "rtt", 64, Pinned, 4_000_000, 120+10*x))
		add(sample(round, "a<b>", "rtt", 64, Pinned, 10_000, 100_000+1000*x))
		add(sample(round, "cell-ring-raw", "rtt", 65536, Pinned, 100_000, 9_000+x))
		add(sample(round, "a<b>", "rtt", 64, Free, 20_000, 50_000+x))
		add(sample(round, "cell-ring-raw", "pipelined", 64, Pinned, 10_000_000*uint64(round), 0))
		add(sample(round, "cell-ring-raw", "stream", 64, Pinned, 50_000_000, 0))
		add(sample(round, "a<b>", "stream", 64, Pinned, 500_000, 0))
		add(sample(round, "cell-ring-raw", "stream", 65536, Pinned, 250_000, 0))
	}
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(name, got, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s (go test -update writes it anew):\n%s", name, got)
	}
}

func TestWriters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if err := Write(dir, fixture()); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, f.Name()+".golden", b)
	}
	if fmt.Sprint(names) != "[README.md peers.json rtt.svg streams.svg]" {
		t.Errorf("files %v", names)
	}
}

func TestNearAndFarAreKeptApart(t *testing.T) {
	r := farFixture()
	page, err := Markdown(r)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "far.md.golden", page)
	for state, want := range map[State]float64{Near: 140, Far: 5 * 150} {
		f := Summarise(r, state).Get("cell-ring-raw", "rtt", 64, Pinned)
		if f == nil || f.P50.Median != want {
			t.Errorf("%s: %+v, want a p50 of %v", state, f, want)
		}
	}
	if got := r.StateOf(&r.Samples[len(r.Samples)-1]); got != Moved {
		t.Errorf("from 500 ns to 100 ns is %q", got)
	}
	if names := Pictures(r); len(names) != 4 || names["rtt.svg"] == nil || names["rtt-far.svg"] == nil || names["streams-far.svg"] == nil {
		t.Errorf("%d pictures", len(names))
	}
}

func TestWrittenReportIsReadBack(t *testing.T) {
	dir := t.TempDir()
	want := fixture()
	if err := Write(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, err1 := encode(want)
	b, err2 := encode(got)
	if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
		t.Errorf("%v, %v, read back:\n%s", err1, err2, b)
	}
	if err := got.Continues(want); err != nil {
		t.Error(err)
	}
}

func TestPicturesAreXML(t *testing.T) {
	for name, b := range Pictures(fixture()) {
		d := xml.NewDecoder(bytes.NewReader(b))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestReportOfNothing(t *testing.T) {
	r := fixture()
	r.Samples, r.Runs, r.Failures = nil, nil, nil
	if len(Pictures(r)) != 0 {
		t.Error("a picture of nothing")
	}
	if b, err := Markdown(r); err != nil || bytes.Contains(b, []byte("NaN")) {
		t.Errorf("%v\n%s", err, b)
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	good, err := encode(fixture())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no JSON":             "nothing",
		"another format":      strings.Replace(string(good), `"format": 2`, `"format": 1`, 1),
		"a field too many":    strings.Replace(string(good), `"format": 2`, `"format": 2, "x": 1`, 1),
		"a sample of nothing": strings.Replace(string(good), `"count":5000000`, `"count":0`, 1),
		"a run that is none":  strings.Replace(string(good), `"run":1`, `"run":2`, 1),
	} {
		if text == string(good) {
			t.Fatalf("%s: the fixture has changed", name)
		}
		if err := os.WriteFile(filepath.Join(dir, JSONFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); !errors.Is(err, ErrReport) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestContinuesOnlyTheSame(t *testing.T) {
	for what, change := range map[string]func(*Report){
		"--duration":  func(r *Report) { r.Settings.Duration++ },
		"--sizes":     func(r *Report) { r.Settings.Sizes = []int{64} },
		"--only":      func(r *Report) { r.Settings.Peers = r.Settings.Peers[:1] },
		"the machine": func(r *Report) { r.Host.Kernel = "7" },
		"the peers":   func(r *Report) { r.Peers[2].Version = "v2" },
	} {
		r := fixture()
		change(r)
		if err := r.Continues(fixture()); !errors.Is(err, ErrReport) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x")
	if err := os.Mkdir(name, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := replace(name, []byte("text")); err == nil {
		t.Error("a directory was replaced")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{3, 1, 2}, Spread{2, 1, 3}},
		{[]float64{4, 1, 2, 3}, Spread{2.5, 1, 4}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
	}
	if s := spreadOf(nil); !math.IsNaN(s.Median) {
		t.Errorf("of nothing: %v", s)
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{FormatSize(64), "64 B"}, {FormatSize(1024), "1 KiB"}, {FormatSize(1 << 20), "1 MiB"}, {FormatSize(1500), "1500 B"},
		{formatNanos(123.4), "123 ns"}, {formatNanos(1234), "1.23 µs"}, {formatNanos(123_456_789), "123 ms"}, {formatNanos(2e9), "2.00 s"},
		{formatRate(25_300_000), "25.3 M/s"}, {formatRate(9_870), "9.87 k/s"}, {formatRate(12), "12.0 /s"},
		{formatBytes(14.26e9), "14.3 GB/s"}, {formatBytes(850e6), "850 MB/s"},
		{digits(1234567), "1,234,567"}, {digits(0), "–"}, {digits(math.NaN()), "–"}, {digits(0.012345), "0.0123"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestHostAndCommit(t *testing.T) {
	h := CollectHost()
	if h.Kernel == unknown || h.CPUs == 0 || h.Go == "" || !strings.Contains(h.String(), h.Kernel) {
		t.Errorf("%+v: %s", h, h)
	}
	if revision, _ := Commit(); revision == "" {
		t.Error("no word about the commit")
	}
}
