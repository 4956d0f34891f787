package forward

// lane is a list of calls, first in first out, threaded through the calls
// themselves, so that entering and leaving it allocate nothing and take
// constant time.
type lane struct {
	first, last *call
	count       int
	which       laneKind
}

// laneKind says which of its links a call stands in a lane by.
type laneKind uint8

const (
	laneCaller laneKind = iota // all calls of a caller
	laneTarget                 // all calls to a target
	laneLoose                  // calls that ended without an answer
	laneOwing                  // calls that owe somebody something
	laneKinds
)

// knot is a call's place in one lane.
type knot struct {
	in         *lane // nil: in none
	prev, next *call
}

func (l *lane) init(which laneKind) { l.which = which }

func (l *lane) push(c *call) {
	c.knots[l.which] = knot{in: l, prev: l.last}
	if l.last != nil {
		l.last.knots[l.which].next = c
	} else {
		l.first = c
	}
	l.last = c
	l.count++
}

// leave takes a call out of the lane of that kind that it is in, if any.
func (c *call) leave(which laneKind) {
	k := &c.knots[which]
	l := k.in
	if l == nil {
		return
	}
	if k.prev != nil {
		k.prev.knots[which].next = k.next
	} else {
		l.first = k.next
	}
	if k.next != nil {
		k.next.knots[which].prev = k.prev
	} else {
		l.last = k.prev
	}
	l.count--
	*k = knot{}
}

// next returns the call behind c in the lane of that kind.
func (c *call) next(which laneKind) *call { return c.knots[which].next }
