package report

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Errors of Compare.
var (
	// ErrUnlike: the two sides were not measured under like conditions.
	ErrUnlike = errors.New("results of unlike hosts or settings")
	// ErrNoPairs: no result of one side has a like one on the other.
	ErrNoPairs = errors.New("nothing to compare")
)

// Judgements of a Delta.
const (
	// Better and Worse: the ranges over the rounds of both sides don't touch.
	Better = "better"
	Worse  = "worse"
	// Within: they do, so the difference may be noise.
	Within = "within the spread"
	// Unjudged: a side has a single round, so its noise isn't known.
	Unjudged = "no spread known"
)

// Bases of a Delta.
const (
	// ToLimit: ratios to the limit measured beside each side.
	ToLimit = "ratio to the limit"
	// Absolute: times and rates as they are, for want of a limit.
	Absolute = "absolute"
)

// Comparison is what changed from A to B.
type Comparison struct {
	Schema string `json:"schema"`
	Pairs  []Pair `json:"pairs"`
	// OnlyA and OnlyB name the settings without a like one opposite.
	OnlyA []string `json:"only_a"`
	OnlyB []string `json:"only_b"`
	// Unlike lists what differs between hosts and settings; not empty only
	// when the comparison was forced.
	Unlike []Difference `json:"unlike"`
}

// Pair is one setting that both sides measured.
type Pair struct {
	Setting
	CommitA string  `json:"commit_a"`
	CommitB string  `json:"commit_b"`
	Deltas  []Delta `json:"deltas"`
}

// Delta is the change of one figure.
type Delta struct {
	// Figure is the JSON name: "p50", "p99", "p99_9", "msgs_per_s".
	Figure string `json:"figure"`
	// Basis is ToLimit or Absolute, and says what A and B are: ratios, or
	// nanoseconds and messages per second.
	Basis string `json:"basis"`
	// A and B are each side's figure; a Range of a single value where it
	// had one round.
	A Range `json:"a"`
	B Range `json:"b"`
	// Change is B/A-1 of the medians; nil where A is 0.
	Change *float64 `json:"change"`
	// Judgement is Better, Worse, Within or Unjudged, from A to B.
	Judgement string `json:"judgement"`
}

// Difference is a field in which two sides are not alike.
type Difference struct {
	Where string `json:"where"` // the setting
	Field string `json:"field"` // the JSON name
	A     string `json:"a"`
	B     string `json:"b"`
}

// UnlikeError lists what makes two sides incomparable. It wraps ErrUnlike.
type UnlikeError struct{ Differences []Difference }

// Error names each field once with both values, and the way out.
func (e *UnlikeError) Error() string {
	var b strings.Builder
	b.WriteString(ErrUnlike.Error() + ":")
	var said []string
	for _, d := range e.Differences {
		line := fmt.Sprintf("\n  %s: %s, but %s", d.Field, strconv.Quote(d.A), strconv.Quote(d.B))
		if !slices.Contains(said, line) {
			said = append(said, line)
			b.WriteString(line)
		}
	}
	b.WriteString("\nmeasure both on one host, or say --force to see the numbers side by side")
	return b.String()
}

// Unwrap returns ErrUnlike.
func (e *UnlikeError) Unwrap() error { return ErrUnlike }

// Compare matches the results of a (before) and b (after) by their settings,
// the first of a setting with the first, the second with the second, and says
// what changed. Ratios to the limit are compared where both sides have them,
// for they hold between days; otherwise figures as they are. Unlike hosts,
// settings or paths are refused with an *UnlikeError unless force is set. The
// commit may differ: that is what comparing is for. It wraps ErrNoPairs if no
// setting is on both sides.
func Compare(a, b []Result, force bool) (Comparison, error) {
	c := Comparison{Schema: Schema, Pairs: []Pair{}, OnlyA: []string{}, OnlyB: []string{}, Unlike: []Difference{}}
	rest := map[Setting][]*Result{}
	for i := range b {
		key := b[i].Setting.normal()
		rest[key] = append(rest[key], &b[i])
	}
	for i := range a {
		key := a[i].Setting.normal()
		if len(rest[key]) == 0 {
			c.OnlyA = append(c.OnlyA, key.String())
			continue
		}
		other := rest[key][0]
		rest[key] = rest[key][1:]
		c.Unlike = append(c.Unlike, differences(&a[i], other)...)
		c.Pairs = append(c.Pairs, newPair(&a[i], other))
	}
	for i := range b {
		if key := b[i].Setting.normal(); slices.Contains(rest[key], &b[i]) {
			c.OnlyB = append(c.OnlyB, key.String())
		}
	}
	switch {
	case len(c.Pairs) == 0:
		return c, fmt.Errorf("%w: no setting was measured on both sides; a has %s; b has %s", ErrNoPairs, some(c.OnlyA), some(c.OnlyB))
	case len(c.Unlike) > 0 && !force:
		return c, &UnlikeError{c.Unlike}
	}
	return c, nil
}

// some names the first few.
func some(names []string) string {
	const few = 5
	switch {
	case len(names) == 0:
		return "nothing"
	case len(names) > few:
		return strings.Join(names[:few], "; ") + fmt.Sprintf("; and %d more", len(names)-few)
	}
	return strings.Join(names, "; ")
}

// differences lists what must be alike beyond the setting and is not.
func differences(a, b *Result) []Difference {
	var out []Difference
	where := a.Setting.String()
	check := func(field string, va, vb any) {
		if !reflect.DeepEqual(va, vb) {
			out = append(out, Difference{where, field, fmt.Sprint(va), fmt.Sprint(vb)})
		}
	}
	check("path", a.Path, b.Path)
	check("sha256", a.SHA256, b.SHA256)
	if a.Limit != nil && b.Limit != nil {
		check("limit", a.Limit.Setting.String(), b.Limit.Setting.String())
	}
	ha, hb := a.Host, b.Host
	if ha == nil || hb == nil {
		check("host", presence(ha), presence(hb))
		return out
	}
	check("host.cpu", ha.CPU, hb.CPU)
	check("host.cpu_id", ha.CPUID, hb.CPUID)
	check("host.arch", ha.Arch, hb.Arch)
	check("host.kernel", ha.Kernel, hb.Kernel)
	check("host.cpus", joinInts(ha.CPUs), joinInts(hb.CPUs))
	check("host.pinning", ha.Pinning, hb.Pinning)
	check("host.cpu_quota", optional(ha.CPUQuota, digits3), optional(hb.CPUQuota, digits3))
	check("host.smt", ha.SMT, hb.SMT)
	check("host.governor", ha.Governor, hb.Governor)
	check("host.isolated", ha.Isolated, hb.Isolated)
	check("host.nohz_full", ha.NoHZFull, hb.NoHZFull)
	check("host.virtual", ha.Virtual, hb.Virtual)
	check("host.go", ha.Go, hb.Go)
	check("host.gomaxprocs", ha.GOMAXPROCS, hb.GOMAXPROCS)
	check("host.gogc", ha.GOGC, hb.GOGC)
	check("host.gomemlimit", ha.GOMEMLIMIT, hb.GOMEMLIMIT)
	check("host.godebug", ha.GODEBUG, hb.GODEBUG)
	check("host.pgo", ha.PGO, hb.PGO)
	check("host.race", ha.Race, hb.Race)
	return out
}

func presence(h *Host) string {
	if h == nil {
		return "not recorded"
	}
	return "recorded"
}

func newPair(a, b *Result) Pair {
	p := Pair{Setting: a.Setting.normal(), Deltas: []Delta{}}
	if a.Host != nil {
		p.CommitA = a.Host.Commit
	}
	if b.Host != nil {
		p.CommitB = b.Host.Commit
	}
	for _, f := range comparedFigures {
		basis := ToLimit
		ra, rb := f.ratio(a), f.ratio(b)
		if ra == nil || rb == nil {
			basis = Absolute
			ra, rb = f.figure(a), f.figure(b)
		}
		if ra != nil && rb != nil {
			p.Deltas = append(p.Deltas, newDelta(f.name, basis, *ra, *rb, f.moreIsBetter, spreadKnown(a) && spreadKnown(b)))
		}
	}
	return p
}

// compared is a figure that Compare looks at.
type compared struct {
	name          string
	moreIsBetter  bool
	figure, ratio func(*Result) *Range
}

var comparedFigures = []compared{
	{"p50", false,
		rounds(ns(func(l *Latency) *float64 { return l.P50 }), func(s *Spread) *Range { return s.P50 }),
		ratioRounds(func(r *Result) *float64 { return r.RatioP50 }, func(s *Spread) *Range { return s.RatioP50 })},
	{"p99", false,
		rounds(ns(func(l *Latency) *float64 { return l.P99 }), func(s *Spread) *Range { return s.P99 }),
		ratioRounds(func(r *Result) *float64 { return r.RatioP99 }, func(s *Spread) *Range { return s.RatioP99 })},
	{"p99_9", false,
		rounds(ns(func(l *Latency) *float64 { return l.P999 }), func(s *Spread) *Range { return s.P999 }),
		ratioRounds(func(r *Result) *float64 { return r.RatioP999 }, func(s *Spread) *Range { return s.RatioP999 })},
	{"msgs_per_s", true,
		rounds(msgsPerS, func(s *Spread) *Range { return s.MsgsPerS }),
		ratioRounds(func(r *Result) *float64 { return r.RatioMsgs }, func(s *Spread) *Range { return s.RatioMsgs })},
}

// rounds returns a figure's range, or its single value as one.
func rounds(figure func(Figures) *float64, over func(*Spread) *Range) func(*Result) *Range {
	return ratioRounds(func(r *Result) *float64 { return figure(r.Figures) }, over)
}

func ratioRounds(figure func(*Result) *float64, over func(*Spread) *Range) func(*Result) *Range {
	return func(r *Result) *Range {
		if r.Spread != nil {
			if o := over(r.Spread); o != nil {
				return o
			}
		}
		v := figure(r)
		if v == nil {
			return nil
		}
		return &Range{Median: *v, Min: *v, Max: *v}
	}
}

func spreadKnown(r *Result) bool { return r.Spread != nil && r.Spread.Rounds > 1 }

func newDelta(figure, basis string, a, b Range, moreIsBetter, judged bool) Delta {
	d := Delta{Figure: figure, Basis: basis, A: a, B: b, Judgement: Within}
	if a.Median != 0 {
		d.Change = new(b.Median/a.Median - 1)
	}
	switch {
	case !judged:
		d.Judgement = Unjudged
	case b.Min > a.Max && moreIsBetter, b.Max < a.Min && !moreIsBetter:
		d.Judgement = Better
	case b.Min > a.Max, b.Max < a.Min:
		d.Judgement = Worse
	}
	return d
}
