package link

import (
	"math/bits"

	"github.com/cell-runtime/cell/wire"
)

// partialKey names a vesicle under way.
type partialKey struct {
	fingerprint uint64
	correlation uint32
	sequence    uint32
	kind        wire.Kind
	channel     wire.Channel
}

// maxSpans bounds how many separate stretches of one vesicle may be there at
// once. In order there is one; a lossy medium that reorders makes a handful.
const maxSpans = 32

// span is a stretch of bytes that have arrived: low ≤ i < high.
type span struct{ low, high uint32 }

// partial is a vesicle of which some pieces have arrived.
type partial struct {
	key      partialKey
	header   wire.Header // of the whole
	buf      []byte      // as long as needed up to now, not as announced
	received uint32      // bytes
	progress int64       // when bytes arrived last
	count    int
	spans    [maxSpans]span // spans[:count], ascending, never touching
}

type spanRelation int

const (
	spanFree     spanRelation = iota // nothing of it is there yet
	spanInside                       // all of it is there, in one stretch
	spanOverlaps                     // part of it is there
)

// relate tells how low ≤ i < high relates to what has arrived. at is the first
// span that ends at low or behind.
func (p *partial) relate(low, high uint32) (at int, _ spanRelation) {
	for at < p.count && p.spans[at].high < low {
		at++
	}
	if at == p.count {
		return at, spanFree
	}
	if s := p.spans[at]; s.low <= low && high <= s.high {
		return at, spanInside
	}
	// The span at `at` may end exactly at low; then the next one decides.
	for i := at; i < p.count && i <= at+1; i++ {
		if s := p.spans[i]; s.low < high && low < s.high {
			return at, spanOverlaps
		}
	}
	return at, spanFree
}

// insert adds a free stretch and joins it with its neighbours. It returns
// false if there would be too many.
func (p *partial) insert(at int, low, high uint32) bool {
	next := at // the first span behind the stretch
	joinsLeft := at < p.count && p.spans[at].high == low
	if joinsLeft {
		next++
	}
	joinsRight := next < p.count && p.spans[next].low == high
	switch {
	case joinsLeft && joinsRight:
		p.spans[at].high = p.spans[next].high
		copy(p.spans[next:], p.spans[next+1:p.count])
		p.count--
	case joinsLeft:
		p.spans[at].high = high
	case joinsRight:
		p.spans[next].low = low
	case p.count == maxSpans:
		return false
	default:
		copy(p.spans[at+1:], p.spans[at:p.count])
		p.spans[at] = span{low, high}
		p.count++
	}
	return true
}

// minBuffer is the least size of a reassembly buffer in bytes.
const minBuffer = 4 << 10

// buffers hands out memory in powers of two and keeps what comes back, so
// that a steady flow allocates nothing. What is out and what is kept together
// stay within limit.
type buffers struct {
	limit  int
	held   int
	shared *ReassemblyBudget
	free   [bits.UintSize][][]byte // by the logarithm of the size
}

func sizeClass(n int) int { return bits.Len(uint(max(n, minBuffer) - 1)) }

// take returns a kept buffer of at least n bytes, or nil.
func (b *buffers) take(n int) []byte {
	list := &b.free[sizeClass(n)]
	last := len(*list) - 1
	if last < 0 {
		return nil
	}
	buf := (*list)[last]
	(*list)[last] = nil
	*list = (*list)[:last]
	return buf
}

// make returns a new buffer of at least n bytes, at the expense of kept ones,
// or nil if what is out leaves no room, here or within the shared budget.
func (b *buffers) make(n int) []byte {
	size := 1 << sizeClass(n)
	for class := len(b.free) - 1; ; {
		if b.held+size <= b.limit && b.shared.take(size, b.held) {
			b.held += size
			return make([]byte, size)
		}
		for class >= 0 && len(b.free[class]) == 0 {
			class--
		}
		if class < 0 {
			return nil
		}
		b.forget(b.take(1 << class))
	}
}

// give takes a buffer back. nil is fine.
func (b *buffers) give(buf []byte) {
	if buf != nil {
		class := sizeClass(len(buf))
		b.free[class] = append(b.free[class], buf)
	}
}

// forget gives up a buffer that is out. nil is fine.
func (b *buffers) forget(buf []byte) {
	b.held -= len(buf)
	b.shared.give(len(buf))
}

// shrink gives up everything that is kept.
func (b *buffers) shrink() {
	for class := range b.free {
		for _, buf := range b.free[class] {
			b.forget(buf)
		}
		b.free[class] = nil
	}
}
