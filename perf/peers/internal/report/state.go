package report

import (
	"fmt"
	"math"
)

// State says how far the two CPUs were from each other during a measurement. In
// a virtual machine that changes while one measures; what was measured near and
// what was measured far is kept apart, and what was measured while it changed
// is no figure of either.
type State string

// The states. On a host where nothing moves, all is Near.
const (
	Near  State = "near"
	Far   State = "far"
	Moved State = "moved" // from one to the other within a measurement
)

// farFrom is by how much the bare line must exceed the report's least to be far.
const farFrom = 2

// StateOf returns the state in which a sample of r was measured.
func (r *Report) StateOf(s *Sample) State { return stateOf(s, farFrom*r.leastLine()) }

func stateOf(s *Sample, bound float64) State {
	switch {
	case max(s.Line[0], s.Line[1]) <= bound:
		return Near
	case min(s.Line[0], s.Line[1]) > bound:
		return Far
	}
	return Moved
}

// leastLine returns the least bare line of the report, in ns.
func (r *Report) leastLine() float64 {
	least := math.Inf(1)
	for i := range r.Samples {
		least = min(least, r.Samples[i].Line[0], r.Samples[i].Line[1])
	}
	return least
}

// lines says what the bare line was in a state: its median and bounds.
func (r *Report) lines(of State) Spread {
	var v []float64
	bound := farFrom * r.leastLine()
	for i := range r.Samples {
		if s := &r.Samples[i]; stateOf(s, bound) == of {
			v = append(v, s.Line[0], s.Line[1])
		}
	}
	return spreadOf(v)
}

// samples returns those of a state.
func (r *Report) samples(of State) (found []*Sample) {
	bound := farFrom * r.leastLine()
	for i := range r.Samples {
		if s := &r.Samples[i]; stateOf(s, bound) == of {
			found = append(found, s)
		}
	}
	return found
}

// states lists those that have samples, Moved left out.
func (r *Report) states() (found []State) {
	for _, s := range []State{Near, Far} {
		if len(r.samples(s)) > 0 {
			found = append(found, s)
		}
	}
	return found
}

// file returns the name of a state's picture: that of the first state has the
// plain name.
func (r *Report) file(of State, name string) string {
	if states := r.states(); len(states) > 0 && states[0] == of {
		return name + ".svg"
	}
	return fmt.Sprintf("%s-%s.svg", name, of)
}
