package report

import (
	"cmp"
	"math"
	"slices"
)

// Spread is the median of the rounds with the least and the greatest of them.
type Spread struct {
	Median, Min, Max float64
}

// spreadOf sums up values; an even number of them has the mean of the middle
// two as its median. All is NaN without values.
func spreadOf(values []float64) Spread {
	n := len(values)
	if n == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN()}
	}
	v := slices.Clone(values)
	slices.Sort(v)
	return Spread{(v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]}
}

// Figures sum up one cell over all rounds. Percentiles are medians of the
// rounds' percentiles; they are zero but for round trips.
type Figures struct {
	Peer      string
	Work      string
	Size      int
	Placement Placement
	Rounds    int
	Rate      Spread // a second
	Bytes     Spread // a second, one way
	CPU       Spread // seconds of both processes a million
	P50       Spread // ns, like those below
	P90, P99  Spread
	P999, Max Spread
}

// key names a cell.
type key struct {
	peer, work string
	size       int
	placement  Placement
}

// Table is the summary of a report, by cell.
type Table map[key]*Figures

// Summarise makes the table of what of a report was measured in one state.
func Summarise(r *Report, of State) Table {
	samples := map[key][]*Sample{}
	for _, s := range r.samples(of) {
		k := key{s.Peer, s.Work, s.Size, s.Placement}
		samples[k] = append(samples[k], s)
	}
	t := Table{}
	for k, ss := range samples {
		of := func(f func(*Sample) float64) Spread {
			var v []float64
			for _, s := range ss {
				v = append(v, f(s))
			}
			return spreadOf(v)
		}
		f := &Figures{Peer: k.peer, Work: k.work, Size: k.size, Placement: k.placement, Rounds: len(ss),
			Rate: of((*Sample).PerSecond), Bytes: of((*Sample).BytesPerSecond), CPU: of((*Sample).CPUPerMillion)}
		if ss[0].Times != nil {
			time := func(f func(*Times) float64) Spread {
				return of(func(s *Sample) float64 { return f(cmp.Or(s.Times, new(Times))) })
			}
			f.P50 = time(func(t *Times) float64 { return t.P50 })
			f.P90 = time(func(t *Times) float64 { return t.P90 })
			f.P99 = time(func(t *Times) float64 { return t.P99 })
			f.P999 = time(func(t *Times) float64 { return t.P999 })
			f.Max = time(func(t *Times) float64 { return t.Max })
		}
		t[k] = f
	}
	return t
}

// Get returns a cell's figures, nil if it was not measured.
func (t Table) Get(peer, work string, size int, p Placement) *Figures {
	return t[key{peer, work, size, p}]
}
