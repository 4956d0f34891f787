// Package metrics counts and times without slowing down what it measures:
// counters, gauges and log-linear histograms in a mapped file that another
// process reads while the writer runs.
//
// The writer makes plain stores into its own memory: no lock, no system call,
// no allocation, a few nanoseconds. A reader copies the file with pread and
// never disturbs the writer, and what it reads survives the writer: after
// kill -9 the file holds everything up to the last store.
//
//	f, err := metrics.Create("/run/cell/node.metrics", metrics.Options{})
//	rtt, err := f.Histogram("rtt", "Round trip of a call.", "ns", metrics.HistogramOptions{})
//	rtt.Record(elapsed)                   // the hot path
//
//	r, err := metrics.Open("/run/cell/node.metrics")  // another process
//	s, err := r.Snapshot()
//
// # One writer per instrument
//
// [Counter], [Gauge] and [Histogram] belong to one goroutine at a time: they
// read, add and store without an atomic instruction, so two writers would lose
// updates (not corrupt memory). Where several threads count the same thing,
// either each has an instrument of the same name under a [Writer] of its own,
// and [Snapshot.Merged] adds them up, or they share a [SharedCounter], which
// costs an atomic add. Anyone may read at any time.
//
// # Histograms
//
// Buckets are those of HdrHistogram, with one to five significant decimal
// digits, so that export (package metrics/hdr) is exact. [NewHistogram] makes
// one outside of any file. Reading a histogram gives a [Distribution], which
// has percentiles, merges and differences.
//
// The layout of the file and the rules for readers in other languages are in
// docs/METRICS.md.
package metrics

import "errors"

// Errors of this package, wrapped with context. Compare with errors.Is.
var (
	// ErrBusy: the file belongs to a process that still runs.
	ErrBusy = errors.New("metrics: the file's writer is alive")
	// ErrNotMetrics: the bytes are not a metrics file.
	ErrNotMetrics = errors.New("metrics: not a metrics file")
	// ErrVersion: a metrics file of a layout that this package doesn't know.
	ErrVersion = errors.New("metrics: unknown layout version")
	// ErrNotReady: the file is being created at this moment. Try again.
	ErrNotReady = errors.New("metrics: file is still being created")
	// ErrTruncated: the file is shorter than its header says.
	ErrTruncated = errors.New("metrics: file is truncated")
	// ErrCorrupt: the file contradicts itself.
	ErrCorrupt = errors.New("metrics: file is corrupt")
	// ErrFull: no room for another instrument.
	ErrFull = errors.New("metrics: file is full")
	// ErrDuplicate: the instrument exists, or its name is in use with another
	// kind or unit.
	ErrDuplicate = errors.New("metrics: instrument exists already")
	// ErrInvalid: a name, label, size or option that can't be.
	ErrInvalid = errors.New("metrics: invalid argument")
	// ErrClosed: the file or reader was closed.
	ErrClosed = errors.New("metrics: closed")
	// ErrLayout: two distributions have different buckets.
	ErrLayout = errors.New("metrics: histograms of different options")
	// ErrNotEarlier: what was to be subtracted is not an earlier state.
	ErrNotEarlier = errors.New("metrics: not an earlier state of the same instrument")
)
