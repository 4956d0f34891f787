package report

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// measured makes a result of rounds whose p50 and limit are given.
func measured(t *testing.T, link string, p50s []float64, limit float64) Result {
	t.Helper()
	var rounds []Round
	for _, p50 := range p50s {
		r := Round{Got: Sample{Times: upTo(100, p50/50), Elapsed: time.Duration(p50 * 1000)}}
		if limit > 0 {
			r.Limit = &Sample{Times: upTo(100, limit/50), Elapsed: time.Duration(limit * 1000)}
		}
		rounds = append(rounds, r)
	}
	res, err := Combine(Setting{Kind: KindRTT, Link: link, Size: 64, Payload: 64, Wait: "spin", Loop: Closed},
		Setting{Kind: KindLimit, Link: "cacheline", Loop: Closed}, rounds)
	if err != nil {
		t.Fatal(err)
	}
	res.Host = fixtureHost()
	return res
}

func delta(t *testing.T, c Comparison, figure string) Delta {
	t.Helper()
	for _, d := range c.Pairs[0].Deltas {
		if d.Figure == figure {
			return d
		}
	}
	t.Fatalf("no delta of %s in %+v", figure, c)
	return Delta{}
}

func TestCompareJudgesBySpread(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []float64
		after  []float64
		want   string
		msgs   string
	}{
		{"slower beyond the spread", []float64{100, 102, 104}, []float64{110, 112, 115}, Worse, Worse},
		{"faster beyond the spread", []float64{110, 112, 115}, []float64{100, 102, 104}, Better, Better},
		{"ranges that overlap", []float64{100, 105, 112}, []float64{110, 112, 115}, Within, Within},
		{"a single round", []float64{100}, []float64{200, 210, 220}, Unjudged, Unjudged},
	} {
		for _, limit := range []float64{0, 90} {
			a, b := measured(t, "ring", c.before, limit), measured(t, "ring", c.after, limit)
			got, err := Compare([]Result{a}, []Result{b}, false)
			if err != nil {
				t.Fatal(err)
			}
			basis := map[bool]string{true: ToLimit, false: Absolute}[limit > 0]
			if d := delta(t, got, "p50"); d.Judgement != c.want || d.Basis != basis {
				t.Errorf("%s: p50 %s by %s, want %s by %s", c.name, d.Judgement, d.Basis, c.want, basis)
			}
			if d := delta(t, got, "msgs_per_s"); d.Judgement != c.msgs {
				t.Errorf("%s: messages %s, want %s", c.name, d.Judgement, c.msgs)
			}
		}
	}
}

// The host was half as fast on the second day, for the code and its limit
// alike: nothing has changed.
func TestCompareByRatioIgnoresTheHostsDay(t *testing.T) {
	a, b := measured(t, "ring", []float64{100, 101, 102}, 90), measured(t, "ring", []float64{200, 202, 204}, 180)
	got, err := Compare([]Result{a}, []Result{b}, false)
	if err != nil {
		t.Fatal(err)
	}
	if d := delta(t, got, "p50"); d.Judgement != Within || *d.Change != 0 {
		t.Errorf("got %+v", d)
	}
	b.Limit, b.RatioP50, b.Spread.RatioP50 = nil, nil, nil
	if got, err = Compare([]Result{a}, []Result{b}, false); err != nil {
		t.Fatal(err)
	}
	if d := delta(t, got, "p50"); d.Basis != Absolute || *d.Change != 1 {
		t.Errorf("without a limit on one side: %+v", d)
	}
}

func TestCompareRefusesUnlikeHosts(t *testing.T) {
	for field, change := range map[string]func(*Result){
		"host.cpu":        func(r *Result) { r.Host.CPU = "Other" },
		"host.kernel":     func(r *Result) { r.Host.Kernel = "7.0" },
		"host.governor":   func(r *Result) { r.Host.Governor = "powersave" },
		"host.isolated":   func(r *Result) { r.Host.Isolated = none },
		"host.cpus":       func(r *Result) { r.Host.CPUs = []int{0, 1} },
		"host.gomaxprocs": func(r *Result) { r.Host.GOMAXPROCS = 1 },
		"host.gogc":       func(r *Result) { r.Host.GOGC = "off" },
		"host.go":         func(r *Result) { r.Host.Go = "go1.27" },
		"host.pgo":        func(r *Result) { r.Host.PGO = !r.Host.PGO },
		"host.godebug":    func(r *Result) { r.Host.GODEBUG = "" },
		"host.race":       func(r *Result) { r.Host.Race = true },
		"host":            func(r *Result) { r.Host = nil },
		"path":            func(r *Result) { r.Path = "unix stream socket" },
		"limit":           func(r *Result) { r.Limit.Link = "copy" },
	} {
		a, b := measured(t, "ring", []float64{100, 101}, 90), measured(t, "ring", []float64{100, 101}, 90)
		change(&b)
		_, err := Compare([]Result{a}, []Result{b}, false)
		var unlike *UnlikeError
		if !errors.Is(err, ErrUnlike) || !errors.As(err, &unlike) || len(unlike.Differences) != 1 {
			t.Errorf("%s: got %v", field, err)
			continue
		}
		if d := unlike.Differences[0]; d.Field != field || !strings.Contains(err.Error(), field+": ") || !strings.Contains(err.Error(), "--force") {
			t.Errorf("%s: got %v", field, err)
		}
		if c, err := Compare([]Result{a}, []Result{b}, true); err != nil || len(c.Unlike) != 1 || len(c.Pairs) != 1 {
			t.Errorf("%s by force: %+v, %v", field, c, err)
		}
	}
	a, b := measured(t, "ring", []float64{100}, 0), measured(t, "ring", []float64{100}, 0)
	b.Host.Commit, b.Host.Dirty = "another", false
	if _, err := Compare([]Result{a}, []Result{b}, false); err != nil {
		t.Errorf("another commit is refused: %v", err)
	}
}

func TestCompareMatchesBySetting(t *testing.T) {
	ring, uds := measured(t, "ring", []float64{100}, 0), measured(t, "uds", []float64{3000}, 0)
	again := measured(t, "ring", []float64{120}, 0)
	c, err := Compare([]Result{ring, uds, ring}, []Result{again, ring, measured(t, "quic", []float64{9}, 0)}, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Pairs) != 2 || *c.Pairs[0].Deltas[0].Change == 0 || *c.Pairs[1].Deltas[0].Change != 0 {
		t.Errorf("results of one setting are not matched in order: %+v", c.Pairs)
	}
	if len(c.OnlyA) != 1 || !strings.Contains(c.OnlyA[0], "uds") || len(c.OnlyB) != 1 || !strings.Contains(c.OnlyB[0], "quic") {
		t.Errorf("only a: %q, only b: %q", c.OnlyA, c.OnlyB)
	}
	if _, err := Compare([]Result{ring}, []Result{uds}, true); !errors.Is(err, ErrNoPairs) || !strings.Contains(err.Error(), "uds") {
		t.Errorf("nothing in common: %v", err)
	}
	if _, err := Compare(nil, nil, true); !errors.Is(err, ErrNoPairs) {
		t.Errorf("nothing at all: %v", err)
	}
}

func TestComparisonLooksAsItShould(t *testing.T) {
	a := []Result{measured(t, "ring", []float64{100, 102, 104}, 90), measured(t, "uds", []float64{3000, 3100, 3200}, 0), measured(t, "can", []float64{1e6}, 0)}
	b := []Result{measured(t, "ring", []float64{110, 112, 115}, 90), measured(t, "uds", []float64{2000, 2100, 2200}, 0)}
	b[0].Host.Kernel, b[1].Host.Kernel = "7.0", "7.0"
	c, err := Compare(a, b, true)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := c.WriteText(&text, Style{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", text.Bytes())
	golden(t, "compare.json", written(t, func(w io.Writer) error { return c.WriteJSON(w) }))
}
