package bench

import (
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// fingerprint of all vesicles here: nobody routes by it.
const fingerprint = 0xce11be7c00000001

// call measures round trips over e: closed loop, or by the fixed schedule of
// s.Rate, in which case a time counts from the intended start. The warm-up is
// run and not counted.
func (e *end) call(s *Spec, length time.Duration) (report.Sample, error) {
	c := caller{end: e, payload: make([]byte, s.Payload())}
	if err := c.prepare(); err != nil {
		return report.Sample{}, err
	}
	if s.Warmup > 0 {
		if err := c.closed(after(s.Warmup), newRecorder()); err != nil {
			return report.Sample{}, err
		}
	}
	rec := newRecorder()
	begin := sched.Now()
	var err error
	if s.Rate == report.MaxRate {
		err = c.closed(after(length), rec)
	} else {
		err = c.open(float64(s.Rate), after(length), rec)
	}
	if err != nil {
		return report.Sample{}, err
	}
	elapsed := sched.Now() - begin
	times := rec.times()
	e.abort()
	n := times.Count() // ids are 32 bits and may have wrapped
	return report.Sample{Times: times, Count: n, Bytes: n * uint64(s.Payload()),
		Elapsed: time.Duration(elapsed)}, e.finish()
}

func (e *end) abort() {
	if e.tx != nil {
		e.tx.Abort()
	} else {
		e.conn.Abort()
	}
}

// caller has one call outstanding at a time.
type caller struct {
	*end
	payload []byte
	id      uint32
	in, out [1]wire.Vesicle
}

func (c *caller) prepare() error {
	c.out[0].Header = wire.Header{Fingerprint: fingerprint, Kind: wire.KindRequest, Hops: 1}
	_, err := c.claim(c.out[:], len(c.payload))
	return err
}

// once makes one call. The next place is claimed while the answer is under way.
func (c *caller) once() error {
	if c.rx != nil {
		return c.onceDirect()
	}
	place(c.out[0].Payload, c.payload)
	c.out[0].Header.Correlation = c.id
	if err := c.publish(c.out[:]); err != nil {
		return err
	}
	if _, err := c.claim(c.out[:], len(c.payload)); err != nil {
		return err
	}
	if _, err := c.poll(c.in[:]); err != nil {
		return err
	}
	h := &c.in[0].Header
	if h.Correlation != c.id || h.Kind != wire.KindReply || len(c.in[0].Payload) != len(c.payload) {
		return c.unexpected()
	}
	c.id++
	return c.release(1)
}

// closed calls back to back. One reading of the clock a round is the end of
// one and the start of the next, exactly as the limit is measured.
func (c *caller) closed(until uint64, rec *recorder) error {
	t := sched.Ticks()
	for {
		if err := c.once(); err != nil {
			return err
		}
		now := sched.Ticks()
		rec.ticks(now - t)
		if past(now, until) {
			return nil
		}
		t = now
	}
}

// open calls by the schedule start + i/rate. A call that starts late because
// the one before it took long has waited, and its time says so.
func (c *caller) open(rate float64, until uint64, rec *recorder) error {
	start := sched.Ticks()
	perCall := float64(sched.NanosToTicks(1e9)) / rate
	for i := 0; ; i++ {
		due := start + uint64(float64(i)*perCall)
		for !past(sched.Ticks(), due) {
			sched.Pause()
		}
		if err := c.once(); err != nil {
			return err
		}
		now := sched.Ticks()
		rec.ticks(now - due)
		if past(now, until) {
			return nil
		}
	}
}
