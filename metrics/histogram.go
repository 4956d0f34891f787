package metrics

import (
	"math"
	"runtime"
	"sync/atomic"
)

// Words at the head of a histogram, before its counts. The order is part of
// the file's layout.
const (
	histEpoch   = 0 // even; odd while Reset runs
	histMin     = 1 // least value recorded; noMin if none
	histMax     = 2 // greatest value recorded
	histClipped = 3 // values below 0 or above the last bucket

	// histHead is the size of the head in words: one cache line, so that the
	// words written with every value never share a line with the counts.
	histHead = 8

	// noMin is the minimum while there is none.
	noMin = math.MaxInt64
)

// Histogram counts values in log-linear buckets. One goroutine records; any
// may call Snapshot. Make one with [NewHistogram] (memory only),
// [File.Histogram] or [Writer.Histogram].
//
// There is no running total and no sum: readers derive both from the buckets,
// so they can't disagree with them, and recording touches one word less.
type Histogram struct {
	b      buckets
	head   *[histHead]uint64
	counts []uint64
	mem    *memory // keeps the mapping under head and counts
}

// NewHistogram returns a histogram in ordinary memory, outside of any file.
// It fails only if the options are invalid. With the defaults it takes 272
// KiB.
func NewHistogram(o HistogramOptions) (*Histogram, error) {
	b, err := newBuckets(o)
	if err != nil {
		return nil, err
	}
	words := make([]uint64, histHead+b.n)
	words[histMin] = noMin
	return newHistogramIn(b, words, nil), nil
}

// newHistogramIn builds a histogram over histHead+b.n words, zero but for the
// minimum. It writes none of them: a reader may look already.
func newHistogramIn(b buckets, words []uint64, mem *memory) *Histogram {
	return &Histogram{
		b:      b,
		head:   (*[histHead]uint64)(words),
		counts: words[histHead : histHead+b.n : histHead+b.n],
		mem:    mem,
	}
}

// Options returns the options with their defaults filled in.
func (h *Histogram) Options() HistogramOptions { return h.b.opt }

// Record counts one value. A value above the last bucket is counted in it, a
// negative one as 0; both also count as clipped, so that nothing is lost in
// silence. Max keeps the true value.
func (h *Histogram) Record(v int64) { h.RecordN(v, 1) }

// RecordN counts n values of v.
func (h *Histogram) RecordN(v int64, n uint64) {
	if n == 0 {
		return // v was not seen, so it is no extreme either
	}
	// The head first, then the count: a reader on a machine that keeps the
	// order of stores (amd64) then never sees a count without its maximum.
	// Elsewhere it may; see fitExtremes.
	i := h.b.index(v)
	if i >= uint64(len(h.counts)) {
		v, i = h.clip(v, n)
	}
	if uint64(v) > h.head[histMax] {
		store(&h.head[histMax], uint64(v))
	}
	if uint64(v) < h.head[histMin] {
		store(&h.head[histMin], uint64(v))
	}
	add(&h.counts[i], n)
	runtime.KeepAlive(h)
}

// clip finds a place for a value that has none. It is out of line because it
// is rare.
//
//go:noinline
func (h *Histogram) clip(v int64, n uint64) (int64, uint64) {
	add(&h.head[histClipped], n)
	if v < 0 {
		return 0, 0
	}
	return v, uint64(len(h.counts) - 1)
}

// Reset empties the histogram and begins a new epoch, by which readers notice
// that counts went backwards. It belongs to the writer like Record, and it
// takes as long as reading all buckets, some ten microseconds with the
// defaults. Where a reader only wants what happened in an interval, let it
// subtract two snapshots instead ([Distribution.Sub]).
func (h *Histogram) Reset() {
	// Atomic stores here, although Record needs none: each is a release on
	// arm64, so no zero can be seen before the odd epoch, and the even epoch
	// can't be seen before the last zero. A reader that saw any zero then sees
	// another epoch than at its start and tries again.
	epoch := h.head[histEpoch]
	atomic.StoreUint64(&h.head[histEpoch], epoch|1)
	for i := range h.counts {
		if h.counts[i] != 0 {
			atomic.StoreUint64(&h.counts[i], 0)
		}
	}
	atomic.StoreUint64(&h.head[histMin], noMin)
	atomic.StoreUint64(&h.head[histMax], 0)
	atomic.StoreUint64(&h.head[histClipped], 0)
	atomic.StoreUint64(&h.head[histEpoch], (epoch|1)+1)
	runtime.KeepAlive(h)
}

// Snapshot returns a copy of the counts. Any goroutine may call it while
// another records; see [Reader.Snapshot] for what such a copy means.
func (h *Histogram) Snapshot() *Distribution {
	defer runtime.KeepAlive(h)
	for range maxEpochTries {
		epoch := atomic.LoadUint64(&h.head[histEpoch])
		if epoch&1 != 0 {
			break
		}
		// Counts before the head: the reverse of RecordN's order.
		counts := make([]uint64, len(h.counts))
		for i := range counts {
			counts[i] = atomic.LoadUint64(&h.counts[i])
		}
		var head [histHead]uint64
		for i := range head {
			head[i] = atomic.LoadUint64(&h.head[i])
		}
		if head[histEpoch] != epoch || atomic.LoadUint64(&h.head[histEpoch]) != epoch {
			continue
		}
		if d, err := newDistribution(h.b, counts, &head); err == nil {
			return d
		}
		break // more than 2^63 values; no writer lives that long
	}
	return emptyDistribution(h.b, (atomic.LoadUint64(&h.head[histEpoch])|1)+1)
}
