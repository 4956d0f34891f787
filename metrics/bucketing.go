package metrics

import (
	"fmt"
	"math"
	"math/bits"
)

// Defaults of [HistogramOptions].
const (
	DefaultLowest  = 1
	DefaultHighest = 3_600_000_000_000 // an hour in nanoseconds
	DefaultDigits  = 3
)

// maxLowest bounds HistogramOptions.Lowest. HdrHistogram takes its logarithm
// in floating point, which rounds up just below large powers of two; below
// this bound integer and floating point agree, and so do the buckets.
const maxLowest = 1 << 40

// HistogramOptions fix the buckets of a histogram. A zero field takes its
// default.
type HistogramOptions struct {
	// Lowest is the smallest value that must be told apart from 0, in the
	// instrument's unit: 1 to 2^40. Values below are still counted. Default 1.
	Lowest int64
	// Highest is the largest value that must be recorded with full precision,
	// at least twice Lowest. Larger values are clipped into the last bucket
	// and counted as such. Default: an hour in nanoseconds.
	Highest int64
	// Digits is the number of significant decimal digits, 1 to 5. The
	// default, 3, keeps the relative error of a value below 0.1 %.
	Digits int
}

// buckets is the geometry of a log-linear histogram, identical to that of
// HdrHistogram (http://hdrhistogram.org; Gil Tene): values are grouped by
// power of two, and each power is cut into 2^(half) equal parts.
type buckets struct {
	opt  HistogramOptions
	mask uint64 // values up to here lie in the first, fully linear bucket
	half uint   // log2 of the parts per power of two
	unit uint   // log2 of Lowest: the width of the narrowest part
	base uint   // bits of the largest value in the first bucket
	n    int    // number of counts
}

// newBuckets fills in defaults and checks o. It allocates nothing, so that
// options that came from a file can be checked before anything is sized by
// them.
func newBuckets(o HistogramOptions) (buckets, error) {
	if o.Lowest == 0 {
		o.Lowest = DefaultLowest
	}
	if o.Highest == 0 {
		o.Highest = DefaultHighest
	}
	if o.Digits == 0 {
		o.Digits = DefaultDigits
	}
	switch {
	case o.Digits < 1 || o.Digits > 5:
		return buckets{}, fmt.Errorf("%w: histogram with %d digits; 1 to 5 can be had", ErrInvalid, o.Digits)
	case o.Lowest < 1 || o.Lowest > maxLowest:
		return buckets{}, fmt.Errorf("%w: histogram's lowest value %d; it must lie in 1 to 2^40", ErrInvalid, o.Lowest)
	case o.Highest/2 < o.Lowest:
		return buckets{}, fmt.Errorf("%w: histogram's highest value %d is less than twice its lowest, %d", ErrInvalid, o.Highest, o.Lowest)
	}
	// Single-unit resolution must reach 2×10^digits, not 10^digits: ±1 at 1999
	// is demanded, ±2 from 2000 on.
	largest := uint64(2)
	for range o.Digits {
		largest *= 10
	}
	b := buckets{opt: o}
	parts := uint(bits.Len64(largest - 1)) // log2, rounded up
	b.half = parts - 1
	b.unit = uint(bits.Len64(uint64(o.Lowest))) - 1
	b.base = b.unit + parts
	if b.unit+b.half > 61 {
		return buckets{}, fmt.Errorf("%w: lowest value %d with %d digits needs more than 63 bits", ErrInvalid, o.Lowest, o.Digits)
	}
	b.mask = (1<<parts - 1) << b.unit
	powers := 1
	// An extra power where Highest is just beyond the last, as HdrHistogram
	// has it (its comparison is <=).
	for edge := uint64(1) << b.base; edge <= uint64(o.Highest); edge <<= 1 {
		powers++
		if edge > math.MaxInt64/2 {
			break
		}
	}
	b.n = (powers + 1) << b.half
	return b, nil
}

// index returns the place of v's count. It is at least b.n where v is too
// large, and, because the sign bit makes the largest of all unsigned numbers,
// also where v is negative: one comparison catches both.
func (b *buckets) index(v int64) uint64 {
	u := uint64(v)
	power := uint(bits.Len64(u|b.mask)) - b.base
	// The masks tell the compiler that no shift exceeds 63.
	return uint64(power)<<(b.half&63) + u>>((power+b.unit)&63)
}

// bounds returns the least and the greatest value that index i stands for.
func (b *buckets) bounds(i int) (low, high int64) {
	power, part := i>>b.half, i&(1<<b.half-1)
	if power > 0 {
		power--
		part += 1 << b.half
	}
	shift := uint(power) + b.unit
	low = int64(part) << shift
	return low, low + (1<<shift - 1)
}

// median returns HdrHistogram's representative of index i, its middle.
func (b *buckets) median(i int) int64 {
	low, high := b.bounds(i)
	return low + (high-low+1)>>1
}
