package quic

import (
	"github.com/cell-runtime/cell/wire"
)

// Credit is what a side may send on a link before the peer's user has released
// what came. It is counted in bytes of the peer's ring, and is never more than
// that has, so a lane's reader always finds room there: a link that nobody polls
// fills its own ring and no more. Without that it would hold back its lanes'
// streams, then the window that all links of the connection share, and so the
// links that have nothing to do with it.

const recordLine = 64 // of package ring's records

// costOf is how much of a ring a vesicle of n payload bytes takes, at most.
func costOf(n int) int64 {
	return (int64(n) + 4 + wire.HeaderSize + recordLine - 1) &^ (recordLine - 1)
}

// creditOf returns what a ring of size bytes holds for certain of vesicles of at
// most maxPayload: at its end there may be no room for the longest.
func creditOf(size, maxPayload int) int {
	return size - int(costOf(maxPayload)) - 2*recordLine
}

// costs remembers what each vesicle cost that was polled and not released, in
// order: a ring grants 1,024 of them.
type costs struct {
	of         [1024]uint32
	head, tail uint32
}

func (c *costs) put(vs []wire.Vesicle, lossy bool) {
	for i := range vs {
		cost := uint32(costOf(len(vs[i].Payload)))
		if lossy && isDatagram(&vs[i].Header) {
			cost = 0
		}
		c.of[c.tail%uint32(len(c.of))] = cost
		c.tail++
	}
}

func (c *costs) take(n int) (sum int64) {
	for range n {
		sum += int64(c.of[c.head%uint32(len(c.of))])
		c.head++
	}
	return sum
}
