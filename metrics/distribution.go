package metrics

import (
	"fmt"
	"iter"
	"math"
	"slices"
)

// Distribution is what a histogram had counted at one time: a copy that
// belongs to whoever asked for it. It is not safe for concurrent changes.
// Its total never exceeds MaxInt64.
type Distribution struct {
	b        buckets
	counts   []uint64
	total    uint64
	min, max int64 // meaningless while total is 0
	clipped  uint64
	epoch    uint64
}

// Bucket is a range of values that a histogram doesn't tell apart.
type Bucket struct {
	Low, High int64 // both inclusive
	Count     uint64
}

// NewDistribution makes a distribution of counts that came from elsewhere, in
// the order of [Distribution.Counts]. Missing counts are taken as 0; counts
// beyond the buckets of o must be 0. Min and Max are then edges of buckets.
func NewDistribution(o HistogramOptions, counts []uint64) (*Distribution, error) {
	b, err := newBuckets(o)
	if err != nil {
		return nil, err
	}
	own := make([]uint64, b.n)
	for i := copy(own, counts); i < len(counts); i++ {
		if counts[i] != 0 {
			return nil, fmt.Errorf("%w: count at index %d, but the options make %d buckets", ErrLayout, i, b.n)
		}
	}
	return newDistribution(b, own, nil)
}

func emptyDistribution(b buckets, epoch uint64) *Distribution {
	return &Distribution{b: b, counts: make([]uint64, b.n), epoch: epoch}
}

// newDistribution takes counts over. Without a head, the extremes come from
// the buckets.
func newDistribution(b buckets, counts []uint64, head *[histHead]uint64) (*Distribution, error) {
	d := &Distribution{b: b, counts: counts}
	if head != nil {
		d.epoch, d.clipped = head[histEpoch], head[histClipped]
	}
	if err := d.count(); err != nil {
		return nil, err
	}
	d.edgeExtremes()
	if head != nil {
		d.fitExtremes(head[histMin], head[histMax])
	}
	return d, nil
}

// count derives the total.
func (d *Distribution) count() error {
	d.total = 0
	for _, c := range d.counts {
		if c > math.MaxInt64-d.total {
			return fmt.Errorf("%w: counts exceed 2^63", ErrCorrupt)
		}
		d.total += c
	}
	return nil
}

// edgeExtremes sets min and max to the outer edges of the outermost buckets.
func (d *Distribution) edgeExtremes() {
	d.min, d.max = 0, 0
	if d.total == 0 {
		return
	}
	d.min, _ = d.b.bounds(slices.IndexFunc(d.counts, nonzero))
	_, d.max = d.b.bounds(d.top())
}

func nonzero(c uint64) bool { return c != 0 }

// top returns the last index with a count, or -1.
func (d *Distribution) top() int {
	for i := len(d.counts) - 1; i >= 0; i-- {
		if d.counts[i] != 0 {
			return i
		}
	}
	return -1
}

// fitExtremes takes the exact extremes from a head where they fit the counts.
// They may not: head and counts were read one after the other while the
// writer went on, and arm64 may show its stores in another order. Then the
// edges of the buckets, already set, are the best that is known.
func (d *Distribution) fitExtremes(lo, hi uint64) {
	if d.total == 0 || lo > math.MaxInt64 || hi > math.MaxInt64 {
		return
	}
	if _, high := d.b.bounds(slices.IndexFunc(d.counts, nonzero)); int64(lo) >= d.min && int64(lo) <= high {
		d.min = int64(lo)
	}
	top := d.top()
	low, _ := d.b.bounds(top)
	clipped := d.clipped > 0 && top == len(d.counts)-1
	if int64(hi) >= low && (int64(hi) <= d.max || clipped) {
		d.max = int64(hi)
	}
}

// Options returns the options of the histogram, with defaults filled in.
func (d *Distribution) Options() HistogramOptions { return d.b.opt }

// Count returns how many values were recorded.
func (d *Distribution) Count() uint64 { return d.total }

// Clipped returns how many of them were out of range; see [Histogram.Record].
func (d *Distribution) Clipped() uint64 { return d.clipped }

// Epoch changes whenever the histogram was reset.
func (d *Distribution) Epoch() uint64 { return d.epoch }

// Counts returns the count of every bucket, empty ones included, in
// HdrHistogram's order. The slice is the distribution's own: read only.
func (d *Distribution) Counts() []uint64 { return d.counts }

// Buckets yields the buckets that have a count, lowest first.
func (d *Distribution) Buckets() iter.Seq[Bucket] {
	return func(yield func(Bucket) bool) {
		for i, c := range d.counts {
			if c == 0 {
				continue
			}
			low, high := d.b.bounds(i)
			if !yield(Bucket{Low: low, High: high, Count: c}) {
				return
			}
		}
	}
}

// Clone returns an independent copy.
func (d *Distribution) Clone() *Distribution {
	c := *d
	c.counts = slices.Clone(d.counts)
	return &c
}

// Merge adds what o counted to d. Both must come of the same options, else
// ErrLayout and d is unchanged.
func (d *Distribution) Merge(o *Distribution) error {
	if d.b.opt != o.b.opt {
		return fmt.Errorf("%w: %+v and %+v can't be merged", ErrLayout, d.b.opt, o.b.opt)
	}
	if o.total > math.MaxInt64-d.total {
		return fmt.Errorf("%w: merged counts exceed 2^63", ErrInvalid)
	}
	switch {
	case o.total == 0:
	case d.total == 0:
		d.min, d.max = o.min, o.max
	default:
		d.min, d.max = min(d.min, o.min), max(d.max, o.max)
	}
	for i, c := range o.counts {
		d.counts[i] += c
	}
	d.total += o.total
	d.clipped += o.clipped
	// A sum of epochs changes if any part was reset, which is all that an
	// epoch is asked for.
	d.epoch += o.epoch
	return nil
}

// Sub takes an earlier state of the same histogram away from d, so that d
// holds what was recorded between the two. If the histogram was reset in
// between, everything in d is newer than earlier and d stays as it is. Min
// and Max of a difference are edges of buckets: the exact extremes of an
// interval aren't recorded.
//
// It fails with ErrLayout, or with ErrNotEarlier where a count would go below
// 0; then d is unchanged.
func (d *Distribution) Sub(earlier *Distribution) error {
	if d.b.opt != earlier.b.opt {
		return fmt.Errorf("%w: %+v can't be taken from %+v", ErrLayout, earlier.b.opt, d.b.opt)
	}
	if d.epoch != earlier.epoch {
		return nil
	}
	for i, c := range earlier.counts {
		if c > d.counts[i] {
			return fmt.Errorf("%w: bucket %d had %d values and now %d", ErrNotEarlier, i, c, d.counts[i])
		}
	}
	for i, c := range earlier.counts {
		d.counts[i] -= c
	}
	d.total -= earlier.total
	// Read apart from the counts, so it may lag behind by what was in flight.
	d.clipped -= min(d.clipped, earlier.clipped)
	exactMin, exactMax := d.min, d.max
	d.edgeExtremes()
	// The extremes of the whole bound those of the part.
	if d.total != 0 {
		d.min, d.max = max(d.min, exactMin), min(d.max, exactMax)
	}
	return nil
}
