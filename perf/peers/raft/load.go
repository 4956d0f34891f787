package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// errNotThere: the system can't do that.
var errNotThere = errors.New("this system does not have that")

// work is a way of using a system.
type work string

// The works. A caller waits for each answer; the pipeline keeps commands under
// way without a caller for each.
const (
	sync1     work = "sync-1"
	sync64    work = "sync-64"
	pipelined work = "pipelined"
	read1     work = "read-1"
	read64    work = "read-64"
)

var works = []work{sync1, sync64, pipelined, read1, read64}

// callersOf is how many callers a work has, or commands under way at most.
func callersOf(w work) int {
	switch w {
	case sync1, read1:
		return 1
	case pipelined:
		return 2048
	}
	return 64
}

// order is what a process is asked to do.
type order struct {
	Do      string        `json:"do"` // leaders, load, idle
	Work    work          `json:"work,omitempty"`
	Callers int           `json:"callers,omitempty"`
	Size    int           `json:"size,omitempty"`
	Warmup  time.Duration `json:"warmup_ns,omitempty"`
	Length  time.Duration `json:"length_ns,omitempty"`
}

// tallies are what a measurement of one process found.
type tallies struct {
	Count   uint64        `json:"count"`
	Elapsed time.Duration `json:"elapsed_ns"`
	P50     time.Duration `json:"p50_ns,omitempty"`
	P99     time.Duration `json:"p99_ns,omitempty"`
	Failed  uint64        `json:"failed,omitempty"`
	Error   string        `json:"error,omitempty"`
}

// led are the groups with their leaders among some replicas.
type led struct {
	r     replicas
	group int
}

// loader is one measurement.
type loader struct {
	targets []led
	command []byte
	from    time.Time // what ends before it is not counted
	until   time.Time

	count  atomic.Uint64
	failed atomic.Uint64
	late   atomic.Int64 // how long after until the first answer came, where none came before
	mu     sync.Mutex
	times  []time.Duration
	err    error
}

// measure puts load on the leaders for a while.
func measure(targets []led, o order) tallies {
	w, warmup, length := o.Work, o.Warmup, o.Length
	if len(targets) == 0 || o.Callers == 0 {
		return tallies{Elapsed: length}
	}
	begun := time.Now()
	l := &loader{targets: targets, command: make([]byte, o.Size), from: begun.Add(warmup), until: begun.Add(warmup + length)}
	var all sync.WaitGroup
	switch w {
	case pipelined:
		for _, t := range targets {
			all.Go(func() { l.pipeline(t, max(16, o.Callers/len(targets))) })
		}
	default:
		for i := range o.Callers {
			all.Go(func() { l.call(w == read1 || w == read64, i) })
		}
	}
	all.Wait()
	slices.Sort(l.times)
	r := tallies{Count: l.count.Load(), Elapsed: length + time.Duration(l.late.Load()), Failed: l.failed.Load()}
	if l.err != nil {
		r.Error = l.err.Error()
	}
	if n := len(l.times); n > 0 {
		r.P50, r.P99 = l.times[n/2], l.times[n*99/100]
	}
	return r
}

func (l *loader) fail(err error) {
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// over reports whether a caller who has counted so many ends now. One with
// nothing goes on to the first answer, however short the measurement was meant
// to be, which takes that much longer then.
func (l *loader) over(now time.Time, counted uint64) bool {
	return now.After(l.until) && (counted > 0 || now.After(l.until.Add(requestTimeout)))
}

// counts reports whether an answer counts that came now, as one more.
func (l *loader) counts(now time.Time, counted uint64) bool {
	if now.Before(l.from) || now.After(l.until) && counted > 0 {
		return false
	}
	for late := int64(now.Sub(l.until)); ; { // the latest of the callers
		old := l.late.Load()
		if late <= old || l.late.CompareAndSwap(old, late) {
			return true
		}
	}
}

// call is one caller, who goes round the groups.
func (l *loader) call(reads bool, i int) {
	var times []time.Duration
	ctx, cancel := context.WithDeadline(context.Background(), l.until.Add(2*requestTimeout))
	defer cancel()
	for n := i; ; n++ {
		t := l.targets[n%len(l.targets)]
		begun := time.Now()
		if l.over(begun, uint64(len(times))) {
			break
		}
		var err error
		if reads {
			err = t.r.read(ctx, t.group)
		} else {
			err = t.r.propose(ctx, t.group, l.command)
		}
		end := time.Now()
		switch {
		case errors.Is(err, errNotThere):
			l.fail(err)
			return
		case err != nil:
			l.fail(err)
			time.Sleep(time.Millisecond)
		case l.counts(end, uint64(len(times))):
			times = append(times, end.Sub(begun))
		}
	}
	l.count.Add(uint64(len(times)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = append(l.times, times...)
}

// pipeline keeps a window of commands under way at one group.
func (l *loader) pipeline(t led, window int) {
	ring, head, tail, count := make([]pending, window), 0, 0, uint64(0)
	for now := time.Now(); !l.over(now, count); now = time.Now() {
		for head-tail < window {
			p, err := t.r.begin(t.group, l.command)
			if err != nil && head > tail && !errors.Is(err, errNotThere) {
				break // it is busy: something has to come back first
			}
			if err != nil {
				l.fail(err)
				if errors.Is(err, errNotThere) {
					return
				}
				time.Sleep(time.Millisecond)
				continue
			}
			ring[head%window] = p
			head++
		}
		// What is ready is taken in order, a part of the window at a time.
		for n := min(head-tail, window/8); n > 0; n-- {
			if err := ring[tail%window].wait(); err != nil {
				l.fail(err)
			} else if l.counts(now, count) {
				count++
			}
			tail++
		}
	}
	for ; tail < head; tail++ {
		_ = ring[tail%window].wait()
	}
	l.count.Add(count)
}

func (t tallies) String() string {
	s := fmt.Sprintf("%.0f/s", float64(t.Count)/t.Elapsed.Seconds())
	if t.P50 > 0 {
		s += fmt.Sprintf(", p50 %v, p99 %v", t.P50.Round(time.Microsecond), t.P99.Round(time.Microsecond))
	}
	if t.Failed > 0 {
		s += fmt.Sprintf(", %d failed: %s", t.Failed, t.Error)
	}
	return s
}
