package report

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrRounds: rounds that can't be combined: none, or a limit in some only.
var ErrRounds = errors.New("rounds can't be combined")

// Sample is what one side of one round saw.
type Sample struct {
	// Times is the distribution of single times; empty if none were taken.
	Times Distribution
	// Count is how many messages; 0 means as many as Times holds.
	Count uint64
	// Bytes is how many bytes of payload travelled one way.
	Bytes uint64
	// Elapsed is from the first message to the last; 0 for no throughput.
	Elapsed time.Duration
}

// Round is one turn of an interleaved measurement.
type Round struct {
	Got   Sample
	Limit *Sample // nil where no limit applies; in all rounds or in none
}

// Range is a figure over the rounds, in the figure's own unit.
type Range struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Spread says how far the rounds lay apart, figure by figure. A figure that is
// nil in the result, or in one of the rounds, is absent. A ratio is taken
// within each round, then its range over the rounds.
type Spread struct {
	Rounds     int    `json:"rounds"`
	P50        *Range `json:"p50,omitempty"`
	P90        *Range `json:"p90,omitempty"`
	P99        *Range `json:"p99,omitempty"`
	P999       *Range `json:"p99_9,omitempty"`
	P9999      *Range `json:"p99_99,omitempty"`
	P99999     *Range `json:"p99_999,omitempty"`
	Max        *Range `json:"max,omitempty"`
	Mean       *Range `json:"mean,omitempty"`
	MsgsPerS   *Range `json:"msgs_per_s,omitempty"`
	BytesPerS  *Range `json:"bytes_per_s,omitempty"`
	RatioP50   *Range `json:"ratio_p50,omitempty"`
	RatioP99   *Range `json:"ratio_p99,omitempty"`
	RatioP999  *Range `json:"ratio_p99_9,omitempty"`
	RatioMsgs  *Range `json:"ratio_msgs,omitempty"`
	RatioBytes *Range `json:"ratio_bytes,omitempty"`
}

// Combine makes a Result of interleaved rounds: what was measured under the
// setting got beside its limit under the setting limit (ignored if the rounds
// have none). Figures are medians over the rounds, ratios medians of the
// rounds' own ratios, because a ratio within a round has the least of the
// host's noise. A percentile too rare for a single round is taken over all
// rounds together, without spread or ratio. It wraps ErrRounds, ErrDistribution or ErrSetting.
func Combine(got, limit Setting, rounds []Round) (Result, error) {
	if len(rounds) == 0 {
		return Result{}, fmt.Errorf("%w: there are none", ErrRounds)
	}
	withLimit := rounds[0].Limit != nil
	var mine, bare []Figures
	for i, r := range rounds {
		if (r.Limit != nil) != withLimit {
			return Result{}, fmt.Errorf("%w: round %d and round 0 differ in having a limit", ErrRounds, i)
		}
		f, err := r.Got.figures()
		if err != nil {
			return Result{}, fmt.Errorf("round %d: %w", i, err)
		}
		mine = append(mine, f)
		if withLimit {
			if f, err = r.Limit.figures(); err != nil {
				return Result{}, fmt.Errorf("limit of round %d: %w", i, err)
			}
			bare = append(bare, f)
		}
	}
	res := Result{Schema: Schema, Setting: got.normal(), Figures: combineFigures(mine)}
	res.NS.extend(AllTimes(rounds).Latency())
	if withLimit {
		res.Limit = &Measured{Setting: limit.normal(), Figures: combineFigures(bare)}
		res.Limit.NS.extend(allTimes(rounds, func(r Round) Distribution { return r.Limit.Times }).Latency())
	}
	spread := spreadOf(mine)
	setRatios(&res, &spread, mine, bare)
	if len(rounds) > 1 {
		res.Spread = &spread
	}
	return res, res.check()
}

// AllTimes returns the times of all rounds in one distribution, for an .hgrm
// file.
func AllTimes(rounds []Round) Distribution {
	return allTimes(rounds, func(r Round) Distribution { return r.Got.Times })
}

func allTimes(rounds []Round, times func(Round) Distribution) Distribution {
	var d Distribution
	for _, r := range rounds {
		d = d.Merge(times(r))
	}
	return d
}

// figures summarizes one round.
func (s Sample) figures() (Figures, error) {
	if err := s.Times.Check(); err != nil {
		return Figures{}, err
	}
	f := Figures{Count: s.Count, NS: s.Times.Latency(), Percentiles: s.Times.Percentiles()}
	if f.Count == 0 {
		f.Count = s.Times.Count()
	}
	if seconds := s.Elapsed.Seconds(); seconds > 0 {
		f.MsgsPerS = new(float64(f.Count) / seconds)
		if s.Bytes > 0 {
			f.BytesPerS = new(float64(s.Bytes) / seconds)
		}
	}
	return f, nil
}

func combineFigures(fs []Figures) Figures {
	var out Figures
	var times []*Latency
	var curves [][]Point
	for _, f := range fs {
		out.Count += f.Count
		times = append(times, f.NS)
		curves = append(curves, f.Percentiles)
	}
	out.NS = medianLatency(times)
	if out.NS != nil {
		out.Percentiles = medianPoints(curves)
	}
	out.MsgsPerS = figureRange(fs, msgsPerS).medianOrNil()
	out.BytesPerS = figureRange(fs, bytesPerS).medianOrNil()
	return out
}

func spreadOf(fs []Figures) Spread {
	s := Spread{
		Rounds:    len(fs),
		Max:       figureRange(fs, ns(func(l *Latency) *float64 { return &l.Max })),
		Mean:      figureRange(fs, ns(func(l *Latency) *float64 { return &l.Mean })),
		MsgsPerS:  figureRange(fs, msgsPerS),
		BytesPerS: figureRange(fs, bytesPerS),
	}
	for i, r := range []**Range{&s.P50, &s.P90, &s.P99, &s.P999, &s.P9999, &s.P99999} {
		*r = figureRange(fs, ns(func(l *Latency) *float64 { return *l.fields()[i] }))
	}
	return s
}

// setRatios fills in the ratios of res and their ranges in spread.
func setRatios(res *Result, spread *Spread, mine, bare []Figures) {
	if len(bare) == 0 {
		return
	}
	ratio := func(figure func(Figures) *float64) *Range {
		return rangeOf(len(mine), func(i int) *float64 {
			return quotient(figure(mine[i]), figure(bare[i]))
		})
	}
	spread.RatioP50 = ratio(ns(func(l *Latency) *float64 { return l.P50 }))
	spread.RatioP99 = ratio(ns(func(l *Latency) *float64 { return l.P99 }))
	spread.RatioP999 = ratio(ns(func(l *Latency) *float64 { return l.P999 }))
	if res.Rate == MaxRate {
		// By a schedule the rate is set, so its share of the limit says
		// nothing about the code.
		spread.RatioMsgs = ratio(msgsPerS)
		spread.RatioBytes = ratio(bytesPerS)
	}
	res.RatioP50 = spread.RatioP50.medianOrNil()
	res.RatioP99 = spread.RatioP99.medianOrNil()
	res.RatioP999 = spread.RatioP999.medianOrNil()
	res.RatioMsgs = spread.RatioMsgs.medianOrNil()
	res.RatioBytes = spread.RatioBytes.medianOrNil()
}

func msgsPerS(f Figures) *float64  { return f.MsgsPerS }
func bytesPerS(f Figures) *float64 { return f.BytesPerS }

// ns lifts a field of Latency to Figures that may have none.
func ns(field func(*Latency) *float64) func(Figures) *float64 {
	return func(f Figures) *float64 {
		if f.NS == nil {
			return nil
		}
		return field(f.NS)
	}
}

func figureRange(fs []Figures, figure func(Figures) *float64) *Range {
	return rangeOf(len(fs), func(i int) *float64 { return figure(fs[i]) })
}

// rangeOf returns the range of n values, nil if one of them is.
func rangeOf(n int, value func(int) *float64) *Range {
	vs := make([]float64, 0, n)
	for i := range n {
		v := value(i)
		if v == nil {
			return nil
		}
		vs = append(vs, *v)
	}
	if len(vs) == 0 {
		return nil
	}
	return &Range{Median: median(vs), Min: slices.Min(vs), Max: slices.Max(vs)}
}

func (r *Range) medianOrNil() *float64 {
	if r == nil {
		return nil
	}
	return new(r.Median)
}

// median returns the middle of vs, or the mean of the middle two.
func median(vs []float64) float64 {
	s := slices.Sorted(slices.Values(vs))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

func quotient(a, b *float64) *float64 {
	if a == nil || b == nil || *b == 0 {
		return nil
	}
	return new(*a / *b)
}
