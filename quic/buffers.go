package quic

import (
	"math/bits"
	"slices"
	"sync"
)

// The buffers of backlogs come from pools and go back there when a lane has none:
// there are many lanes, and one that sends much has a backlog, and none, thousands
// of times a second. What nobody uses the garbage collector takes.
const (
	leastBuffer = 16 << 10 // of a pool; the next one's are twice as long
	poolCount   = 5        // up to backlogMost
)

var pools [poolCount]sync.Pool

// poolOf returns the number of the pool whose buffers hold n bytes, if there is
// one.
func poolOf(n int) (number int, ok bool) {
	number = max(0, bits.Len(uint(n-1))-bits.Len(leastBuffer-1))
	return number, number < poolCount
}

// withRoom returns b, or a buffer with the same content in its place, with room
// for more.
func withRoom(b []byte, more int) []byte {
	need := len(b) + more
	number, ok := poolOf(need)
	if need <= cap(b) || need <= keptMost || !ok {
		return slices.Grow(b, more)
	}
	to, _ := pools[number].Get().(*[]byte)
	if to == nil {
		fresh := make([]byte, 0, leastBuffer<<number)
		to = &fresh
	}
	next := append((*to)[:0], b...)
	emptied(b)
	return next
}

// emptied is a small buffer for later; a long one goes to its pool, and nothing is
// left of it here.
func emptied(b []byte) []byte {
	if cap(b) <= keptMost {
		return b[:0]
	}
	if number, ok := poolOf(cap(b)); ok && cap(b) == leastBuffer<<number {
		pools[number].Put(&b)
	}
	return nil
}
