package rpc

import (
	"fmt"
	"sync"

	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/sched"
)

// connMetrics are a connection's instruments. Those of an AsyncConn belong to
// its engine's thread; a Conn's are behind a lock, since its callers run at
// once.
type connMetrics struct {
	mu     sync.Mutex
	writer *metrics.Writer
	failed *metrics.Counter
	times  map[uint64]*metrics.Histogram // by the method's own fingerprint
}

// newConnMetrics makes the instruments of a connection, nil without a file.
func newConnMetrics(o *ConnOptions) (*connMetrics, error) {
	if o.Metrics == nil {
		return nil, nil
	}
	m := &connMetrics{times: make(map[uint64]*metrics.Histogram)}
	var err error
	if m.writer, err = o.Metrics.Writer(o.Name); err == nil {
		m.failed, err = m.writer.Counter("cell_rpc_client_failed", "Calls that ended with an error.", "")
	}
	if err != nil {
		return nil, fmt.Errorf("rpc: metrics of connection %q: %w", o.Name, err)
	}
	return m, nil
}

// timesOf returns the histogram of a method, nil if the file has no room for
// it. Its count is that of calls that were answered.
func (c *connMetrics) timesOf(m *Method) *metrics.Histogram {
	h, ok := c.times[m.Fingerprint]
	if !ok {
		var err error
		h, err = c.writer.Histogram("cell_rpc_client_seconds", "From the request to its answer.", "ns",
			metrics.HistogramOptions{Digits: 2}, metrics.L("method", m.String()))
		if err != nil {
			h = nil
		}
		c.times[m.Fingerprint] = h
	}
	return h
}

// ended counts a call of a Conn. Safe on nil.
func (c *connMetrics) ended(m *Method, began uint64, err error) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed.Inc()
		return
	}
	if h := c.timesOf(m); h != nil {
		h.Record(sched.TicksToNanos(sched.TicksRelaxed() - began))
	}
}

// asyncTimes times the calls of an AsyncConn with one reading of the clock a
// batch of answers, behind what the batch has sent: it stands for the end of
// the calls that were completed and for the beginning of those that were begun.
// So a time is too long by what its own completion took, and too short by what
// the one before it took.
type asyncTimes struct {
	metrics *connMetrics
	ended   []endedCall
	begun   []uint32 // slots
	sent    []uint64 // by slot
}

// endedCall is one or more calls of one method that began at the same time.
type endedCall struct {
	times *metrics.Histogram
	sent  uint64
	n     uint64
}

// complete notes that a call has ended. Its time is recorded when the batch
// ends.
func (t *asyncTimes) complete(s *asyncSlot, mask uint32, err error) {
	switch {
	case err != nil:
		t.metrics.failed.Inc()
	case s.bound.times != nil:
		times, sent := s.bound.times, t.sent[s.id&mask]
		if n := len(t.ended); n > 0 && t.ended[n-1].sent == sent && t.ended[n-1].times == times {
			t.ended[n-1].n++ // begun in one batch, as pipelined calls are
			return
		}
		t.ended = append(t.ended, endedCall{times, sent, 1})
	}
}

// begin notes that a call has begun. Within a batch, its end gives the time.
func (t *asyncTimes) begin(slot uint32, batch bool) {
	if batch {
		t.begun = append(t.begun, slot)
		return
	}
	t.sent[slot] = sched.TicksRelaxed()
}

// turn is the end of a batch.
func (t *asyncTimes) turn() {
	if len(t.ended) == 0 && len(t.begun) == 0 {
		return
	}
	now := sched.TicksRelaxed()
	for i := range t.ended {
		t.ended[i].times.RecordN(sched.TicksToNanos(now-t.ended[i].sent), t.ended[i].n)
	}
	for _, slot := range t.begun {
		t.sent[slot] = now
	}
	t.ended, t.begun = t.ended[:0], t.begun[:0]
}
