package metrics

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// arenaSize is how many bytes of small instruments a writer reserves at a
// time: 64 counters, four pairs of cache lines.
const arenaSize = 512

// Writer is the region of one goroutine, or of several that take turns, in a
// file. Its counters and gauges lie densely together and never share a cache
// line with another writer's. Instruments of the same name and labels may
// exist in several writers; readers see them apart, under the label
// [WriterLabel], or added up by [Snapshot.Merged].
type Writer struct {
	f    *File
	name string
	// The rest of the current arena. Empty for the File's own writer, whose
	// instruments may belong to any goroutine and so get lines of their own.
	next, end int64
}

// Writer returns the region of that name, the same one for the same name. The
// name must not be empty.
func (f *File) Writer(name string) (*Writer, error) {
	if err := checkText(name); err != nil || name == "" {
		return nil, fmt.Errorf("%w: writer name %q; it must be UTF-8 text and not empty", ErrInvalid, name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.writers[name]
	if w == nil {
		w = &Writer{f: f, name: name}
		f.writers[name] = w
	}
	return w, nil
}

// Counter registers a counter on a cache line of its own. Names and labels
// follow Prometheus' rules. It fails with ErrDuplicate if there is such an
// instrument, ErrFull, ErrInvalid or ErrClosed.
func (f *File) Counter(name, help, unit string, labels ...Label) (*Counter, error) {
	return f.own.Counter(name, help, unit, labels...)
}

// SharedCounter registers a counter that many goroutines may add to. It fails
// like [File.Counter].
func (f *File) SharedCounter(name, help, unit string, labels ...Label) (*SharedCounter, error) {
	d := descriptor{kind: KindCounter, name: name, help: help, unit: unit, labels: labels, size: 8}
	words, err := f.own.register(&d)
	if err != nil {
		return nil, err
	}
	return &SharedCounter{word: &words[0], mem: f.mem}, nil
}

// Gauge registers a gauge on a cache line of its own. It fails like
// [File.Counter].
func (f *File) Gauge(name, help, unit string, labels ...Label) (*Gauge, error) {
	return f.own.Gauge(name, help, unit, labels...)
}

// Histogram registers a histogram. It fails like [File.Counter].
func (f *File) Histogram(name, help, unit string, o HistogramOptions, labels ...Label) (*Histogram, error) {
	return f.own.Histogram(name, help, unit, o, labels...)
}

// Counter registers a counter of this writer. It fails like [File.Counter].
func (w *Writer) Counter(name, help, unit string, labels ...Label) (*Counter, error) {
	d := descriptor{kind: KindCounter, name: name, help: help, unit: unit, labels: labels, size: 8}
	words, err := w.register(&d)
	if err != nil {
		return nil, err
	}
	return &Counter{word: &words[0], mem: w.f.mem}, nil
}

// Gauge registers a gauge of this writer. It fails like [File.Counter].
func (w *Writer) Gauge(name, help, unit string, labels ...Label) (*Gauge, error) {
	d := descriptor{kind: KindGauge, name: name, help: help, unit: unit, labels: labels, size: 8}
	words, err := w.register(&d)
	if err != nil {
		return nil, err
	}
	return &Gauge{word: &words[0], mem: w.f.mem}, nil
}

// Histogram registers a histogram of this writer. It fails like
// [File.Counter].
func (w *Writer) Histogram(name, help, unit string, o HistogramOptions, labels ...Label) (*Histogram, error) {
	b, err := newBuckets(o)
	if err != nil {
		return nil, err
	}
	d := descriptor{kind: KindHistogram, name: name, help: help, unit: unit, labels: labels, hist: b, size: histogramSize(b)}
	words, err := w.register(&d)
	if err != nil {
		return nil, err
	}
	return newHistogramIn(b, words, w.f.mem), nil
}

// register finds a place for d, publishes its descriptor and returns the words
// of its value.
func (w *Writer) register(d *descriptor) ([]uint64, error) {
	d.writer = w.name
	d.labels = slices.Clone(d.labels)
	slices.SortFunc(d.labels, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	if err := d.check(); err != nil {
		return nil, err
	}
	f := w.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.admit(d); err != nil {
		return nil, err
	}
	// Encoded once before there is a place, so that texts that don't fit take
	// none.
	if _, err := d.encode(); err != nil {
		return nil, err
	}
	var err error
	if d.offset, err = w.place(d); err != nil {
		return nil, err
	}
	entry, err := d.encode()
	if err != nil {
		return nil, err
	}
	words := f.mem.words[d.offset/8 : (d.offset+d.size)/8]
	if d.kind == KindHistogram {
		words[histMin] = noMin
	}
	if _, err := f.mem.WriteAt(entry, headerSize+int64(f.count)*descriptorSize); err != nil {
		return nil, err
	}
	f.count++
	f.keys[d.key()] = struct{}{}
	if f.families[d.name] == nil {
		f.families[d.name] = d
	}
	// The release that publishes the descriptor: atomic.Store orders every
	// store above before it, on every architecture. Who loads the new count
	// finds the entry whole, and its checksum tells if not.
	atomic.StoreUint64(&f.mem.words[offCount/8], uint64(f.count))
	return words, nil
}

// admit says whether d may be added beside what is there.
func (f *File) admit(d *descriptor) error {
	if f.closed {
		return fmt.Errorf("%w: %s can't be registered any more", ErrClosed, d.name)
	}
	if _, ok := f.keys[d.key()]; ok {
		return fmt.Errorf("%w: %s; keep the first, or register under another Writer or label", ErrDuplicate, d.name)
	}
	if o := f.families[d.name]; o != nil && (o.kind != d.kind || o.unit != d.unit || o.hist.opt != d.hist.opt) {
		return fmt.Errorf("%w: %s is a %v in %q with %+v, not a %v in %q with %+v; choose another name",
			ErrDuplicate, d.name, o.kind, o.unit, o.hist.opt, d.kind, d.unit, d.hist.opt)
	}
	if f.count == f.capacity {
		return fmt.Errorf("%w: its %d instruments are taken; create it with larger Options.Instruments", ErrFull, f.capacity)
	}
	return nil
}

// place returns the offset of d's value: in the writer's arena, or on lines
// of its own.
func (w *Writer) place(d *descriptor) (int64, error) {
	if d.kind == KindHistogram || w.name == "" {
		return w.f.take(d.name, d.size)
	}
	if w.next == w.end {
		at, err := w.f.take(d.name, arenaSize)
		if err != nil {
			return 0, err
		}
		w.next, w.end = at, at+arenaSize
	}
	at := w.next
	w.next += d.size
	return at, nil
}

// take reserves size bytes, rounded up to whole pairs of cache lines.
func (f *File) take(name string, size int64) (int64, error) {
	size = alignUp(size, lineSize)
	if left := f.mem.size() - f.next; size > left {
		return 0, fmt.Errorf("%w: %s needs %d bytes and %d are left; create it with a larger Options.Size", ErrFull, name, size, left)
	}
	at := f.next
	f.next += size
	return at, nil
}
