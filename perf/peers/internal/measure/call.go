package measure

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/perf/peers/internal/report"
	"github.com/cell-runtime/cell/sched"
)

// call runs a product's client and answers with what it measured.
func call(a peer.Adapter, j *job, l *lines) error {
	go func() {
		l.end()
		os.Exit(1) // whoever asked is gone
	}()
	sched.Clock() // calibrates now, not within the measurement
	c, err := a.Dial(j.setting(), j.Addr)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	s, err := work(c, j)
	if err = errors.Join(err, c.Close()); err != nil {
		return err
	}
	return l.send(answer{Sample: s})
}

// work does what the job says and accounts for it.
func work(c peer.Client, j *job) (*report.Sample, error) {
	message := make([]byte, j.Size)
	for i := range message {
		message[i] = byte(i % 251)
	}
	w := newWindow(j)
	switch j.Work {
	case peer.RTT:
		return roundTrips(c, message, w)
	case peer.Pipelined:
		n, err := c.Pipeline(message, w.more)
		if err != nil {
			return nil, err
		}
		return w.close(n)
	case peer.Stream:
		t, err := c.Stream(message, w.more)
		if err != nil {
			return nil, err
		}
		// Everything that was sent has arrived when the tally is here.
		s, err := w.close(t.Count)
		return s, errors.Join(err, t.Check(t.Count, message))
	}
	return nil, peer.ErrUnsupported
}

// roundTrips calls back to back.
func roundTrips(c peer.Client, request []byte, w *window) (*report.Sample, error) {
	r := &trips{window: w, request: request, times: newTimes()}
	if d, ok := c.(peer.Driver); ok {
		r.last = sched.Ticks()
		if err := d.RoundTrips(request, r.answered); err != nil {
			return nil, fmt.Errorf("call %d: %w", r.n, err)
		}
	} else {
		r.last = sched.Ticks()
		for again := true; again; {
			reply, err := c.Call(request)
			if err == nil {
				again, err = r.answered(reply)
			}
			if err != nil {
				return nil, fmt.Errorf("call %d: %w", r.n, err)
			}
		}
	}
	if want := r.n * peer.Touch(request); r.sum != want {
		return nil, fmt.Errorf("%w: the replies' words add up to %#x, not %#x", peer.ErrTally, r.sum, want)
	}
	s, err := w.close(r.n)
	if err != nil {
		return nil, err
	}
	s.Times = r.times.report()
	return s, nil
}

// trips accounts for round trips.
type trips struct {
	*window
	request []byte
	times   times
	n, sum  uint64
	last    uint64 // ticks
}

// errReply: an answer is not the request.
var errReply = errors.New("the answer is not the request")

// answered accounts for one reply. One reading of the clock is the end of one
// call and the start of the next.
func (r *trips) answered(reply []byte) (again bool, err error) {
	if len(reply) != len(r.request) || r.n == 0 && !bytes.Equal(reply, r.request) {
		return false, fmt.Errorf("%w: %d bytes for %d", errReply, len(reply), len(r.request))
	}
	r.sum += peer.Touch(reply)
	now := sched.Ticks()
	r.n++
	opened := r.open.Load()
	if opened {
		r.times.add(now - r.last)
	}
	r.last = now
	if again = r.moreAt(now, r.n); !opened {
		r.last = sched.Ticks() // opening the window has taken time
	}
	return again, nil
}

// errWarmup: nothing is left to measure.
var errWarmup = errors.New("the work ended within the warm-up; lengthen --duration")

// window is the measured time: it opens after the warm-up, and closes when it has
// been open for as long as was asked and all that was begun is done. more may be
// asked by several goroutines; one of them opens the window. On a host that has other
// work it may open late.
type window struct {
	opensAt, length    uint64 // ticks
	closesAt           uint64 // ticks; set before open
	server             int
	mu                 sync.Mutex
	open               atomic.Bool
	atOpen             uint64 // messages before
	begin              int64
	clientCPU, servCPU time.Duration
	err                error
}

func newWindow(j *job) *window {
	opens := sched.Ticks() + sched.NanosToTicks(int64(j.Warmup))
	return &window{opensAt: opens, length: sched.NanosToTicks(int64(j.Length)), server: j.Server}
}

// past reports whether tick a lies behind tick b; the counter may wrap.
func past(a, b uint64) bool { return int64(a-b) >= 0 }

// more is the job's peer.More.
func (w *window) more(sent uint64) bool { return w.moreAt(sched.TicksRelaxed(), sent) }

func (w *window) moreAt(now, sent uint64) bool {
	if w.open.Load() {
		return !past(now, w.closesAt)
	}
	if past(now, w.opensAt) {
		w.begins(sent)
	}
	return true
}

func (w *window) begins(sent uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open.Load() {
		return
	}
	var err1, err2 error
	w.clientCPU, err1 = ownCPU()
	w.servCPU, err2 = cpuOf(w.server)
	w.err = errors.Join(err1, err2)
	w.atOpen, w.begin = sent, sched.Now()
	w.closesAt = sched.Ticks() + w.length
	w.open.Store(true)
}

// close accounts for total messages since the beginning.
func (w *window) close(total uint64) (*report.Sample, error) {
	if !w.open.Load() || total <= w.atOpen {
		return nil, errWarmup
	}
	elapsed := sched.Now() - w.begin
	client, err1 := ownCPU()
	server, err2 := cpuOf(w.server)
	if err := errors.Join(w.err, err1, err2); err != nil {
		return nil, err
	}
	return &report.Sample{Count: total - w.atOpen, Elapsed: time.Duration(elapsed),
		ClientCPU: client - w.clientCPU, ServerCPU: server - w.servCPU}, nil
}
