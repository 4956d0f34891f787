package can

import (
	"fmt"
	"math/bits"
	"slices"
)

// routes is the table of two nodes: the fingerprints of the one with the lower
// number first, as far as there is room. The part of a node counts only if the
// other keeps it, so that a node which keeps none, as a microcontroller, has its
// own part at 0.
type routes struct {
	own, peer part
	lower     bool // this node has the lower number
	byPrint   map[uint64]uint8
}

// part is one node's share of the table.
type part struct {
	prints [MaxRoutes]uint64
	count  int
	have   uint64 // bit i: prints[i] has arrived
}

func checkRoutes(prints []uint64) error {
	if len(prints) > MaxRoutes {
		return fmt.Errorf("can: %d routes, at most %d have numbers: leave out those that are called least", len(prints), MaxRoutes)
	}
	for i, p := range prints {
		if slices.Contains(prints[:i], p) {
			return fmt.Errorf("can: fingerprint %016x is among the routes twice", p)
		}
	}
	return nil
}

func (t *part) set(prints []uint64) {
	t.count = copy(t.prints[:], prints)
	t.have = 1<<t.count - 1
}

func (t *part) complete() bool { return bits.OnesCount64(t.have) >= t.count }

// settle numbers the routes that a sender may use. Those of the peer come
// last, so that they win: the peer surely knows its own.
func (r *routes) settle() {
	r.byPrint = make(map[uint64]uint8, MaxRoutes)
	ownBase, peerBase := 0, r.own.count
	if !r.lower {
		ownBase, peerBase = r.peer.count, 0
	}
	for i, p := range r.own.prints[:r.own.count] {
		if ownBase+i < MaxRoutes {
			r.byPrint[p] = uint8(ownBase + i)
		}
	}
	for i, p := range r.peer.prints[:r.peer.count] {
		if peerBase+i < MaxRoutes {
			r.byPrint[p] = uint8(peerBase + i)
		}
	}
}

// number returns the route of a fingerprint, or noRoute.
func (r *routes) number(print uint64) (n uint8, ok bool) {
	n, ok = r.byPrint[print]
	if !ok {
		return noRoute, false
	}
	return n, true
}

// fingerprint returns what route n stands for.
func (r *routes) fingerprint(n uint8) (print uint64, ok bool) {
	first, second := &r.own, &r.peer
	if !r.lower {
		first, second = second, first
	}
	switch i := int(n); {
	case i < first.count:
		return first.prints[i], true
	case i < first.count+second.count && i < MaxRoutes:
		return second.prints[i-first.count], true
	}
	return 0, false
}
