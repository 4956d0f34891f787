package metrics

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxEpochTries bounds how often a reader starts over because a histogram was
// reset meanwhile. Each round needs another reset.
const maxEpochTries = 8

// chunkSize is how many bytes of counts a reader asks for at a time.
const chunkSize = 64 << 10

// Reader reads the metrics file of another process, alive or dead. Its methods
// may be called from any goroutine.
//
// It reads by pread and does not map the file. Touching a mapping beyond the
// end of a file that was truncated is a SIGBUS, which no check beforehand can
// exclude; pread returns fewer bytes. It costs a copy in the kernel, which
// moves aligned words whole, and nothing to the writer.
//
// Nothing in the file is believed: every offset, size, count and text is
// checked before it is used, and a snapshot of a hostile file takes no more
// memory than a few times the file's size, at most [MaxSize].
type Reader struct {
	src    io.ReaderAt
	file   *os.File // nil if src is the caller's
	header header

	mu     sync.Mutex
	descs  []descriptor // append-only, like the table
	spent  int64        // bytes of values that descs claim
	closed bool
}

// Open opens the metrics file at path for reading. It fails with
// ErrNotMetrics, ErrVersion, ErrNotReady, ErrTruncated or ErrCorrupt, or as
// os.Open does. A reader stays with the file that it opened: when the writer
// has died and another one replaced the file ([Reader.WriterAlive] returns
// false), open it again.
func Open(path string) (*Reader, error) {
	// O_NONBLOCK, so that a FIFO in the way can't hang the caller.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("metrics: opening: %w", err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file (%v)", ErrNotMetrics, st.Mode().Type())
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("metrics: opening %s: %w", path, err)
	}
	r, err := NewReader(f, st.Size())
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("metrics: opening %s: %w", path, err)
	}
	r.file = f
	return r, nil
}

// NewReader reads a metrics file of size bytes through src: one that lies in
// an archive, or in memory. It fails like [Open]. Close does not close src.
func NewReader(src io.ReaderAt, size int64) (*Reader, error) {
	if size < offUsed {
		return nil, fmt.Errorf("%w: %d bytes", ErrNotMetrics, size)
	}
	r := &Reader{src: src}
	b := make([]byte, offUsed)
	if err := r.read(b, 0); err != nil {
		return nil, err
	}
	var err error
	r.header, err = decodeHeader(b, size)
	return r, err
}

// Close closes the file. A second Close does nothing.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.file == nil {
		return nil
	}
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("metrics: closing: %w", err)
	}
	return nil
}

// PID returns the process id of the writer, in the writer's PID namespace.
func (r *Reader) PID() int { return r.header.writer.pid }

// WriterAlive reports whether the process that created the file still runs:
// the same PID, started at the same time since the same boot. In doubt it
// does. It is meaningful within one PID namespace.
func (r *Reader) WriterAlive() bool { return r.header.writer.alive() }

// Snapshot copies the values of all instruments.
//
// Each counter and gauge is a value that it had between the call and the
// return; different instruments are read one after the other, so sums over
// them needn't agree. The same holds for the buckets of a histogram: each
// value recorded before the call is in, each recorded after the return is out,
// and of those in between any may be. The total is the sum of the buckets that
// were read, so percentiles are always consistent with themselves. A histogram
// that is being reset reads as empty.
func (r *Reader) Snapshot() (*Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	b := make([]byte, chunkSize)
	state, err := r.word(b, offState)
	if err != nil {
		return nil, err
	}
	if err := r.learn(b); err != nil {
		return nil, err
	}
	s := &Snapshot{
		Taken: time.Now(), Created: r.header.created, PID: r.header.writer.pid, State: State(state),
		Samples: make([]Sample, 0, len(r.descs)),
	}
	for i := range r.descs {
		sample, err := r.sample(&r.descs[i], b)
		if err != nil {
			return nil, err
		}
		s.Samples = append(s.Samples, sample)
	}
	return s, nil
}

// learn reads the descriptors that were added since the last call.
func (r *Reader) learn(b []byte) error {
	n, err := r.word(b, offCount)
	if err != nil {
		return err
	}
	// Append-only: a table that shrinks isn't one.
	if n > uint64(r.header.capacity) || n < uint64(len(r.descs)) {
		return fmt.Errorf("%w: %d descriptors, after %d, in a table of %d", ErrCorrupt, n, len(r.descs), r.header.capacity)
	}
	for i := int64(len(r.descs)); i < int64(n); i++ {
		entry := b[:descriptorSize]
		if err := r.read(entry, headerSize+i*descriptorSize); err != nil {
			return err
		}
		d, err := decodeDescriptor(entry, r.header.order, valuesAt(r.header.capacity), r.header.size)
		if err != nil {
			return fmt.Errorf("descriptor %d: %w", i, err)
		}
		// Values don't overlap, so together they fit the file. Otherwise a
		// table of a thousand entries that all name the same hundred megabytes
		// would make the reader allocate each of them.
		if r.spent += d.size; r.spent > r.header.size {
			return fmt.Errorf("%w: descriptors up to %d claim more than the file's %d bytes", ErrCorrupt, i, r.header.size)
		}
		r.descs = append(r.descs, d)
	}
	return nil
}

// sample reads one instrument.
func (r *Reader) sample(d *descriptor, b []byte) (Sample, error) {
	s := Sample{
		Kind: d.kind, Name: d.name, Help: d.help, Unit: d.unit, Writer: d.writer,
		Labels: d.labels[:len(d.labels):len(d.labels)],
	}
	var err error
	if d.kind == KindHistogram {
		s.Histogram, err = r.distribution(d, b)
		return s, err
	}
	v, err := r.word(b, d.offset)
	if d.kind == KindGauge {
		s.Gauge = int64(v)
	} else {
		s.Counter = v
	}
	return s, err
}

// distribution reads a histogram: epoch, counts, head, epoch, and again if
// the epoch changed, that is, if it was reset in between. The head comes after
// the counts because the writer stores them the other way round.
func (r *Reader) distribution(d *descriptor, b []byte) (*Distribution, error) {
	last := uint64(0)
	for range maxEpochTries {
		before, err := r.word(b, d.offset+histEpoch*8)
		if err != nil {
			return nil, err
		}
		// Odd: Reset runs, or its process died in it.
		if last = before; before&1 != 0 {
			break
		}
		counts := make([]uint64, d.hist.n)
		if err := r.words(counts, b, d.offset+histHead*8); err != nil {
			return nil, err
		}
		var head [histHead]uint64
		if err := r.words(head[:], b, d.offset); err != nil {
			return nil, err
		}
		after, err := r.word(b, d.offset+histEpoch*8)
		if err != nil {
			return nil, err
		}
		if before != after || before != head[histEpoch] {
			continue
		}
		dist, err := newDistribution(d.hist, counts, &head)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
		return dist, nil
	}
	return emptyDistribution(d.hist, (last|1)+1), nil
}

// words reads len(dst) words from off on, by way of b.
func (r *Reader) words(dst []uint64, b []byte, off int64) error {
	for len(dst) > 0 {
		n := min(len(dst), len(b)/8)
		if err := r.read(b[:n*8], off); err != nil {
			return err
		}
		for i := range n {
			dst[i] = r.header.order.Uint64(b[i*8:])
		}
		dst, off = dst[n:], off+int64(n)*8
	}
	return nil
}

func (r *Reader) word(b []byte, off int64) (uint64, error) {
	if err := r.read(b[:8], off); err != nil {
		return 0, err
	}
	return r.header.order.Uint64(b), nil
}

// read fills b from off. A file that has become shorter is an error, not a
// signal.
//
// Reads are ordered among each other: each is a system call that takes and
// drops references on page-cache folios by fully ordered atomics (or, for
// [memory], a sequence of atomic loads), so what a later read sees is not
// older than what an earlier one saw.
func (r *Reader) read(b []byte, off int64) error {
	if off < 0 || off > math.MaxInt64-int64(len(b)) {
		return fmt.Errorf("%w: offset %d", ErrCorrupt, off)
	}
	n, err := r.src.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it ended at %d", ErrTruncated, off+int64(n))
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("metrics: reading %d bytes at %d: %w", len(b), off, err)
}
