package report

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"
)

// upTo is the distribution of the whole numbers 1 to n.
func upTo(n int, times float64) Distribution {
	ns := make([]float64, n)
	for i := range ns {
		ns[i] = float64(i+1) * times
	}
	return FromSamples(ns)
}

func is(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > 1e-9*math.Abs(want) {
		t.Errorf("%s is %s, want %v", what, optional(got, func(v float64) string { return FormatNS(v) }), want)
	}
}

func TestLatencyOfKnownSamples(t *testing.T) {
	l := upTo(1000, 1).Latency()
	is(t, "p50", l.P50, 500)
	is(t, "p90", l.P90, 900)
	is(t, "p99", l.P99, 990)
	is(t, "p99.9", l.P999, 999)
	is(t, "min", &l.Min, 1)
	is(t, "max", &l.Max, 1000)
	is(t, "mean", &l.Mean, 500.5)
	if l.P9999 != nil || l.P99999 != nil {
		t.Error("a thousand samples have no p99.99")
	}
	if one := upTo(1, 7).Latency(); one.P50 != nil || one.Max != 7 {
		t.Errorf("a single sample has a median: %+v", one)
	}
	if none := (Distribution{}).Latency(); none != nil {
		t.Errorf("no samples have a latency: %+v", none)
	}
}

func TestPercentilesReachAsFarAsTheSamples(t *testing.T) {
	ps := upTo(1000, 1).Percentiles()
	last := ps[len(ps)-1]
	if last.Q != 0.999 || last.NS != 999 {
		t.Errorf("the last point is %+v", last)
	}
	if !slices.ContainsFunc(ps, func(p Point) bool { return p.Q == 0.5 && p.NS == 500 }) {
		t.Error("the median is not on the curve")
	}
	if err := checkPoints(ps); err != nil {
		t.Error(err)
	}
	if many := (Distribution{Values: []float64{5}, Counts: []uint64{1 << 40}}).Percentiles(); len(many) != len(grid) {
		t.Errorf("%d points of %d for a million million samples", len(many), len(grid))
	}
}

func TestDistributionMergesLikeItsSamples(t *testing.T) {
	a, b := []float64{5, 1, 3, 3}, []float64{3, 9, 0}
	got := FromSamples(slices.Clone(a)).Merge(FromSamples(slices.Clone(b)))
	want := FromSamples(append(a, b...))
	if !slices.Equal(got.Values, want.Values) || !slices.Equal(got.Counts, want.Counts) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, d := range map[string]Distribution{
		"lengths differ": {Values: []float64{1}},
		"falling":        {Values: []float64{2, 1}, Counts: []uint64{1, 1}},
		"twice the same": {Values: []float64{2, 2}, Counts: []uint64{1, 1}},
		"negative":       {Values: []float64{-1}, Counts: []uint64{1}},
		"not a number":   {Values: []float64{math.NaN()}, Counts: []uint64{1}},
		"infinite":       {Values: []float64{math.Inf(1)}, Counts: []uint64{1}},
	} {
		if err := d.Check(); !errors.Is(err, ErrDistribution) {
			t.Errorf("%s: got %v, want ErrDistribution", name, err)
		}
	}
}

// The ratio is the median of the rounds' own ratios, not the ratio of medians:
// a host that slows both sides of a round must not show.
func TestCombineTakesRatiosWithinRounds(t *testing.T) {
	var rounds []Round
	for _, host := range []float64{1, 3, 10} { // the host gets slower
		rounds = append(rounds, Round{
			Got:   Sample{Times: upTo(1000, 2*host), Elapsed: time.Duration(host * 1e9)},
			Limit: &Sample{Times: upTo(1000, 1*host), Elapsed: time.Duration(host * 5e8)},
		})
	}
	res, err := Combine(Setting{Kind: KindRTT, Loop: Closed}, Setting{Kind: KindLimit, Loop: Closed}, rounds)
	if err != nil {
		t.Fatal(err)
	}
	is(t, "p50", res.NS.P50, 3000)
	is(t, "least", &res.NS.Min, 2)
	is(t, "greatest", &res.NS.Max, 20000)
	is(t, "limit's p50", res.Limit.NS.P50, 1500)
	is(t, "ratio_p50", res.RatioP50, 2)
	is(t, "ratio_p99_9", res.RatioP999, 2)
	is(t, "ratio_msgs", res.RatioMsgs, 0.5)
	if res.Count != 3000 || res.Spread.Rounds != 3 {
		t.Errorf("count %d over %d rounds", res.Count, res.Spread.Rounds)
	}
	if s := res.Spread.P50; s.Min != 1000 || s.Max != 10000 {
		t.Errorf("the spread of p50 is %+v", s)
	}
	if s := res.Spread.RatioP50; s.Min != 2 || s.Max != 2 {
		t.Errorf("the spread of the ratio is %+v", s)
	}
	if res.BytesPerS != nil || res.RatioBytes != nil {
		t.Error("no bytes moved, but there is a rate of them")
	}
}

func TestCombineLeavesOutWhatMakesNoSense(t *testing.T) {
	timed := Sample{Times: upTo(100, 1), Elapsed: time.Second}
	counted := Sample{Count: 100, Bytes: 6400, Elapsed: time.Second}
	open := Setting{Kind: KindRTT, Rate: 100, Loop: Open}
	res, err := Combine(open, Setting{Kind: KindLimit, Loop: Closed}, []Round{{Got: timed, Limit: &timed}})
	if err != nil {
		t.Fatal(err)
	}
	if res.RatioMsgs != nil {
		t.Error("open loop has a throughput ratio, though its schedule sets the rate")
	}
	if res.RatioP999 != nil || res.NS.P999 != nil {
		t.Error("a hundred samples have a p99.9")
	}
	if res.Spread != nil {
		t.Error("a single round has a spread")
	}
	is(t, "ratio_p99", res.RatioP99, 1)

	res, err = Combine(Setting{Kind: KindStream, Loop: Closed}, Setting{}, []Round{{Got: counted}, {Got: counted}})
	if err != nil {
		t.Fatal(err)
	}
	if res.NS != nil || res.Limit != nil || res.RatioMsgs != nil || len(res.Percentiles) != 0 {
		t.Errorf("a stream without times or limit has them: %+v", res)
	}
	is(t, "bytes_per_s", res.BytesPerS, 6400)
}

func TestCombineTakesRarePercentilesOverAllRounds(t *testing.T) {
	var rounds []Round
	for i := range 5 {
		rounds = append(rounds, Round{Got: Sample{Times: upTo(200, float64(i+1))}})
	}
	res, err := Combine(Setting{Kind: KindRTT, Loop: Closed}, Setting{}, rounds)
	if err != nil {
		t.Fatal(err)
	}
	is(t, "p99", res.NS.P99, 3*198)
	is(t, "p99.9", res.NS.P999, 995) // of a thousand samples up to 1000
	if res.Spread.P999 != nil || res.NS.P9999 != nil {
		t.Error("a percentile that no round has got a spread, or one that not even all have is there")
	}
}

func TestCombineRefuses(t *testing.T) {
	s := Setting{Kind: KindRTT, Loop: Closed}
	for name, c := range map[string]struct {
		setting Setting
		rounds  []Round
		want    error
	}{
		"no rounds":            {s, nil, ErrRounds},
		"limit in one only":    {s, []Round{{Limit: &Sample{}}, {}}, ErrRounds},
		"broken distribution":  {s, []Round{{Got: Sample{Times: Distribution{Values: []float64{1}}}}}, ErrDistribution},
		"no kind":              {Setting{}, []Round{{}}, ErrSetting},
		"open loop at max":     {Setting{Kind: KindRTT, Loop: Open}, []Round{{}}, ErrSetting},
		"closed loop at rate":  {Setting{Kind: KindRTT, Loop: Closed, Rate: 5}, []Round{{}}, ErrSetting},
		"more busy than peers": {Setting{Kind: KindFanIn, Loop: Closed, Peers: 2, Busy: 3}, []Round{{}}, ErrSetting},
	} {
		if _, err := Combine(c.setting, Setting{Kind: KindLimit}, c.rounds); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}
