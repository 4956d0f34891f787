package rpc

import (
	"fmt"
	"sync"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/sched"
)

// Counting costs a plain increment where a call is handled. Every few
// milliseconds, if anything happened, the thread adds what it counted to what
// everybody may read.

// countsEvery is how old published counters can be.
const countsEvery = 5 * time.Millisecond

// linkStats are counters of one served link.
type linkStats struct {
	requests  uint64 // of all kinds
	failed    uint64 // ended with an error
	unknown   uint64 // fingerprints that nobody serves
	late      uint64 // items, credits and cancels for calls that are over
	panics    uint64
	malformed uint64
}

func (s *linkStats) add(o *linkStats) {
	s.requests += o.requests
	s.failed += o.failed
	s.unknown += o.unknown
	s.late += o.late
	s.panics += o.panics
	s.malformed += o.malformed
}

// linkCounts are what a link has counted since it published last.
type linkCounts struct {
	linkStats
	calls   []uint64 // by served.index
	timer   engine.Timer
	pending bool // the timer runs
	sample  bool // the next call of an inline handler is timed
}

// serverCounts are a server's counters, over all its links.
type serverCounts struct {
	mu      sync.Mutex
	sum     linkStats
	methods []methodCounts
	writer  *metrics.Writer
	failed  *metrics.Counter
}

// methodCounts are the counters of one method.
type methodCounts struct {
	calls *metrics.Counter // nil without metrics
	took  *metrics.Histogram
	total uint64
}

func (c *serverCounts) init(f *metrics.File, name string) (err error) {
	if f == nil {
		return nil
	}
	if c.writer, err = f.Writer(name); err == nil {
		c.failed, err = c.writer.Counter("cell_rpc_server_failed", "Calls that ended with an error.", "")
	}
	if err != nil {
		return fmt.Errorf("rpc: metrics of server %q: %w", name, err)
	}
	return nil
}

// method makes the counters of a method and numbers it.
func (c *serverCounts) method(m *served) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var counts methodCounts
	if c.writer != nil {
		label := metrics.L("method", m.method.String())
		counts.calls, err = c.writer.Counter("cell_rpc_server_calls", "Calls begun.", "", label)
		switch {
		case err != nil:
		case m.blocking != nil:
			counts.took, err = c.writer.Histogram("cell_rpc_server_seconds", "From arrival to answer, of blocking handlers.", "ns",
				metrics.HistogramOptions{Digits: 2}, label)
		case m.inline != nil:
			// Small, and done without where the file is full.
			counts.took, _ = c.writer.Histogram("cell_rpc_server_inline_seconds", "Time in inline handlers, of one call every 5 ms and link.", "ns",
				metrics.HistogramOptions{Digits: 1, Highest: int64(time.Second)}, label)
		}
		if err != nil {
			return fmt.Errorf("rpc: metrics of %v: %w", m.method, err)
		}
	}
	m.index = len(c.methods)
	c.methods = append(c.methods, counts)
	return nil
}

// publish adds what a link has counted, and empties it.
func (c *serverCounts) publish(l *linkCounts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum.add(&l.linkStats)
	if c.failed != nil {
		c.failed.Add(l.failed)
	}
	for i, n := range l.calls {
		if n != 0 && i < len(c.methods) {
			m := &c.methods[i]
			m.total += n
			if m.calls != nil {
				m.calls.Add(n)
			}
		}
	}
	l.linkStats = linkStats{}
	clear(l.calls)
}

// took records how long a handler's call took.
func (c *serverCounts) took(m *served, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.index < len(c.methods) && c.methods[m.index].took != nil {
		c.methods[m.index].took.Record(int64(d))
	}
}

// fail counts a failed call of a blocking handler.
func (c *serverCounts) fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum.failed++
	if c.failed != nil {
		c.failed.Inc()
	}
}

func (c *serverCounts) total() linkStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum
}

// counted sees to it that what was counted is published.
func (s *serverLink) counted() {
	if !s.stats.pending {
		s.stats.pending = true
		s.port.Engine().StartTimer(&s.stats.timer, countsEvery)
	}
}

func (s *serverLink) publish() {
	s.stats.pending = false
	s.stats.sample = s.server.counts.writer != nil
	s.server.counts.publish(&s.stats)
}

// sampled records how long an inline handler took that began at the given ticks.
// Each call would pay more for two readings of the clock than it does for all
// the rest of its counting, so one is timed between two publications.
func (s *serverLink) sampled(m *served, began uint64) {
	s.stats.sample = false
	s.server.counts.took(m, time.Duration(sched.TicksToNanos(sched.TicksRelaxed()-began)))
}

// began counts a call of m.
func (s *serverLink) began(m *served) {
	s.stats.requests++
	for m.index >= len(s.stats.calls) {
		s.stats.calls = append(s.stats.calls, 0)
	}
	s.stats.calls[m.index]++
}
