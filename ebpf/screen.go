package ebpf

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Screen is pheromone in user space, with the same verdicts: for hosts where no
// program can be loaded, best behind the socket filter of [AttachClassic], and
// behind the program for what reaches a socket past it (fragments, other
// interfaces). It belongs to one goroutine and allocates nothing once it has
// seen as many sources as it remembers.
type Screen struct {
	rules         Rules
	source, crowd pace
	sources       generations[[16]byte, uint64]
	newcomers     uint64
	seen          generations[mark, struct{}]
	floors        generations[[32]byte, floor]
	counters      PheromoneStats
}

// mark is what makes a beacon that same one: node, incarnation, counter and
// signature.
type mark [32 + 8 + 8 + beaconSignature]byte

// floor is up to where the beacons of a node were verified.
type floor struct{ incarnation, counter uint64 }

// How much both forms of the filter remember at least.
const (
	maxSources = 16384
	maxMarks   = 8192
	maxFloors  = 8192
)

// NewScreen makes a screen, or says what is wrong with the rules.
func NewScreen(r Rules) (*Screen, error) {
	r, err := r.settle()
	if err != nil {
		return nil, err
	}
	return &Screen{
		rules: r, source: newPace(r.Every, r.Burst), crowd: newPace(r.NewEvery, r.NewBurst),
		sources: newGenerations[[16]byte, uint64](maxSources),
		seen:    newGenerations[mark, struct{}](maxMarks),
		floors:  newGenerations[[32]byte, floor](maxFloors),
	}, nil
}

// Judge says what is to be done with a datagram to the port, of payload b, which
// came from a source with so many hops left in its IP header, at a time of any monotonic
// clock.
func (s *Screen) Judge(now time.Duration, source netip.Addr, left uint8, b []byte) Reason {
	reason := s.judge(now, source, left, b)
	s.counters[reason]++
	return reason
}

func (s *Screen) judge(now time.Duration, source netip.Addr, left uint8, b []byte) Reason {
	if reason := s.rules.judgeFormat(b, left); reason != ReasonAccepted {
		return reason
	}
	var m mark
	copy(m[:], b[beaconNode:beaconMarked])
	copy(m[beaconMarked-beaconNode:], b[len(b)-beaconSignature:])
	if f, ok := s.floors.get([32]byte(m[:32])); ok {
		incarnation := binary.LittleEndian.Uint64(b[beaconIncarnation:])
		counter := binary.LittleEndian.Uint64(b[beaconCounter:])
		if incarnation < f.incarnation || incarnation == f.incarnation && counter <= f.counter {
			return ReasonOld
		}
	}
	if _, ok := s.seen.get(m); ok {
		return ReasonReplay
	}
	reason := s.tooFast(uint64(now), source.As16())
	if reason == ReasonAccepted {
		s.seen.put(m, struct{}{})
	}
	return reason
}

func (s *Screen) tooFast(now uint64, source [16]byte) Reason {
	if s.source.interval == 0 {
		return ReasonAccepted
	}
	if until, ok := s.sources.get(source); ok {
		if s.source.late(&until, now) {
			return ReasonRate
		}
		s.sources.put(source, until)
		return ReasonAccepted
	}
	if s.crowd.interval != 0 && s.crowd.late(&s.newcomers, now) {
		return ReasonStrangers
	}
	s.sources.put(source, now+s.source.interval)
	return ReasonAccepted
}

// late is the program's function of that name (GCRA, ITU-T I.371).
func (p pace) late(until *uint64, now uint64) bool {
	from := max(*until, now)
	if from-now > p.tolerance {
		return true
	}
	*until = from + p.interval
	return false
}

// SetFloor has what a node has sent up to a counter dropped from now on: beacons
// of earlier incarnations, and of this one with no greater counter. It is for who
// has verified a signature, so that nobody else can silence the node; who allows
// beacons to overtake each other sets the floor that much lower.
func (s *Screen) SetFloor(node [32]byte, incarnation, counter uint64) {
	s.floors.put(node, floor{incarnation, counter})
}

// Stats returns how often it found what.
func (s *Screen) Stats() PheromoneStats { return s.counters }

// generations remembers at least the n keys that were used last, and at most
// twice as many: when n are in the younger of two maps, the elder is forgotten.
type generations[K comparable, V any] struct {
	n              int
	younger, elder map[K]V
}

func newGenerations[K comparable, V any](n int) generations[K, V] {
	return generations[K, V]{n, make(map[K]V), make(map[K]V)}
}

func (g *generations[K, V]) get(k K) (V, bool) {
	v, ok := g.younger[k]
	if !ok {
		if v, ok = g.elder[k]; ok {
			g.put(k, v)
		}
	}
	return v, ok
}

func (g *generations[K, V]) put(k K, v V) {
	if _, there := g.younger[k]; !there && len(g.younger) == g.n {
		g.younger, g.elder = g.elder, g.younger
		clear(g.younger)
	}
	g.younger[k] = v
}
