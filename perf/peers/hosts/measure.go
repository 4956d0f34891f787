package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// measure does one kind of work for about d.
func measure(work string, t target, d time.Duration) (map[string]float64, error) {
	switch work {
	case "rtt":
		return closedLoop(t, 1, d, 0)
	case "window":
		return closedLoop(t, 64, d, 0)
	case "small":
		return closedLoop(t, 8, d, 5*time.Millisecond)
	case "bulk":
		n, err := t.bulk(d)
		return map[string]float64{"MB/s": float64(n) / 1e6 / d.Seconds()}, err
	}
	return nil, fmt.Errorf("there is no work %q", work)
}

// closedLoop has so many callers make calls, each after the answer to its last
// one or, if pace is set, at that pace. Latency counts from when a call was due,
// so that one which waits for another is not forgotten.
func closedLoop(t target, callers int, d, pace time.Duration) (map[string]float64, error) {
	took := make([][]time.Duration, callers)
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	begin := time.Now()
	for i := range callers {
		all.Go(func() {
			for n := 0; failed.Load() == nil; n++ {
				due := time.Now()
				if pace > 0 {
					due = begin.Add(time.Duration(n)*pace + time.Duration(i)*pace/time.Duration(callers))
					time.Sleep(time.Until(due))
				}
				if due.Sub(begin) > d {
					return
				}
				if err := t.call(); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				took[i] = append(took[i], time.Since(due))
			}
		})
	}
	all.Wait()
	elapsed := time.Since(begin)
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	every := slices.Concat(took...)
	slices.Sort(every)
	if len(every) == 0 {
		return nil, fmt.Errorf("no call was answered within %v", d)
	}
	micros := func(q float64) float64 { return float64(every[int(q*float64(len(every)-1))]) / 1e3 }
	return map[string]float64{
		"p50 µs": micros(0.5), "p99 µs": micros(0.99), "max µs": micros(1), "calls/s": float64(len(every)) / elapsed.Seconds(),
	}, nil
}
