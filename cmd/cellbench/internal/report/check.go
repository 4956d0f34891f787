package report

import (
	"errors"
	"fmt"
	"math"
)

// Errors of results that contradict themselves.
var (
	// ErrSetting: a Setting that can't have been measured.
	ErrSetting = errors.New("impossible setting")
	// ErrFigures: figures that contradict each other or are no numbers.
	ErrFigures = errors.New("impossible figures")
)

// maxPoints bounds a curve; Percentiles makes 71.
const maxPoints = 10_000

// check returns nil, or an error that wraps ErrSetting or ErrFigures and names
// the field by its JSON name.
func (r *Result) check() error {
	if err := checkMeasured(r.Setting, r.Figures); err != nil {
		return err
	}
	if r.Limit != nil {
		if err := checkMeasured(r.Limit.Setting, r.Limit.Figures); err != nil {
			return fmt.Errorf("limit: %w", err)
		}
	}
	if err := checkNumbers(map[string]*float64{
		"ratio_p50": r.RatioP50, "ratio_p99": r.RatioP99, "ratio_p99_9": r.RatioP999,
		"ratio_msgs": r.RatioMsgs, "ratio_bytes": r.RatioBytes,
	}); err != nil {
		return err
	}
	if j := r.Jitter; j != nil {
		if err := checkNumbers(map[string]*float64{
			"jitter.threshold_ns": &j.ThresholdNS, "jitter.observed_s": &j.ObservedS,
			"jitter.gaps_per_s": &j.GapsPerS, "jitter.lost_share": &j.LostShare,
		}); err != nil {
			return err
		}
	}
	return r.Spread.check()
}

func checkMeasured(s Setting, f Figures) error {
	if err := s.check(); err != nil {
		return err
	}
	if err := checkNumbers(map[string]*float64{"msgs_per_s": f.MsgsPerS, "bytes_per_s": f.BytesPerS}); err != nil {
		return err
	}
	if err := f.NS.check(); err != nil {
		return err
	}
	return checkPoints(f.Percentiles)
}

func (s Setting) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrSetting}, args...)...)
	}
	switch {
	case s.Kind == "":
		return bad("kind is empty")
	case s.Size < 0 || s.Payload < 0:
		return bad("size %d and payload %d must not be negative", s.Size, s.Payload)
	case s.Batch < 0 || s.Peers < 0 || s.Busy < 0 || s.Window < 0:
		return bad("batch %d, peers %d, busy %d and window %d must not be negative", s.Batch, s.Peers, s.Busy, s.Window)
	case s.busy() > s.peers():
		return bad("%d of %d peers are busy", s.Busy, s.peers())
	case s.Rate != MaxRate && !validRate(float64(s.Rate)):
		return bad("rate %v", float64(s.Rate))
	case s.Loop == Open && s.Rate == MaxRate:
		return bad("an open loop needs a rate, not max")
	case s.Loop == Closed && s.Rate != MaxRate:
		return bad("a closed loop has rate max, not %v", s.Rate)
	case s.Loop != Open && s.Loop != Closed && s.Loop != "":
		return bad("loop is %q, not closed or open", s.Loop)
	}
	return nil
}

// check holds the percentiles to rise; nil is fine.
func (l *Latency) check() error {
	if l == nil {
		return nil
	}
	if err := checkNumbers(map[string]*float64{"min": &l.Min, "max": &l.Max, "mean": &l.Mean}); err != nil {
		return err
	}
	last := l.Min
	for i, f := range append(l.fields(), new(&l.Max)) {
		if *f == nil {
			continue
		}
		if v := **f; !(v >= last) || math.IsInf(v, 0) {
			return fmt.Errorf("%w: ns: percentile %d is %v after %v; they must rise", ErrFigures, i, v, last)
		}
		last = **f
	}
	return nil
}

func checkPoints(ps []Point) error {
	if len(ps) > maxPoints {
		return fmt.Errorf("%w: %d percentiles, more than %d", ErrFigures, len(ps), maxPoints)
	}
	lastQ, last := -1.0, 0.0
	for i, p := range ps {
		switch {
		case !(p.Q > lastQ && p.Q >= 0 && p.Q < 1):
			return fmt.Errorf("%w: percentiles[%d]: q %v after %v; it must rise from 0 and stay below 1", ErrFigures, i, p.Q, lastQ)
		case !(p.NS >= last) || math.IsInf(p.NS, 0):
			return fmt.Errorf("%w: percentiles[%d]: %v ns after %v; they must rise", ErrFigures, i, p.NS, last)
		case (p.Low != 0 || p.High != 0) && !(p.Low >= 0 && p.Low <= p.NS && p.NS <= p.High) || math.IsInf(p.High, 0):
			return fmt.Errorf("%w: percentiles[%d]: %v ns outside of %v to %v", ErrFigures, i, p.NS, p.Low, p.High)
		}
		lastQ, last = p.Q, p.NS
	}
	return nil
}

func (s *Spread) check() error {
	if s == nil {
		return nil
	}
	if s.Rounds < 1 {
		return fmt.Errorf("%w: spread over %d rounds", ErrFigures, s.Rounds)
	}
	for _, r := range []*Range{
		s.P50, s.P90, s.P99, s.P999, s.P9999, s.P99999, s.Max, s.Mean, s.MsgsPerS, s.BytesPerS,
		s.RatioP50, s.RatioP99, s.RatioP999, s.RatioMsgs, s.RatioBytes,
	} {
		if r != nil && !(r.Min >= 0 && r.Min <= r.Median && r.Median <= r.Max && !math.IsInf(r.Max, 0)) {
			return fmt.Errorf("%w: spread from %v over %v to %v", ErrFigures, r.Min, r.Median, r.Max)
		}
	}
	return nil
}

// checkNumbers refuses what is negative, infinite or not a number; nil passes.
func checkNumbers(named map[string]*float64) error {
	for name, v := range named {
		if v != nil && (!(*v >= 0) || math.IsInf(*v, 0)) {
			return fmt.Errorf("%w: %s is %v", ErrFigures, name, *v)
		}
	}
	return nil
}
