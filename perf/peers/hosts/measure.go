package main

import (
	"encoding/json"
	"fmt"
	"os"
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
		// A call every 5 ms. A caller's turn comes again after 320 ms, so that
		// each has its answer by then unless several packets were lost in a row.
		const callers = 64
		if err := warmUp(t, callers); err != nil {
			return nil, err
		}
		return closedLoop(t, callers, d, callers*5*time.Millisecond)
	case "move":
		return acrossMove(t, d)
	case "bulk":
		begin := time.Now()
		n, err := t.bulk(d)
		// Until the last byte has come: much may be on its way when d is over.
		return map[string]float64{"MB/s": float64(n) / 1e6 / time.Since(begin).Seconds()}, err
	}
	return nil, fmt.Errorf("there is no work %q", work)
}

// warmUp has as many calls under way at once as there will be callers, so that
// what is opened for them isn't measured with them.
func warmUp(t target, callers int) error {
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if err := t.call(); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
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

// acrossMove makes calls, one after the other from each of eight callers, while
// the host's address changes. Whoever reads the line of JSON changes it.
func acrossMove(t target, d time.Duration) (map[string]float64, error) {
	var answered, failed atomic.Int64
	var longest atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	for range 8 {
		all.Go(func() {
			for time.Since(begin) < d {
				at := time.Now()
				if err := t.call(); err != nil {
					fmt.Fprintln(os.Stderr, "hosts: a call failed:", err)
					if failed.Add(1) > 100 {
						return
					}
					continue
				}
				answered.Add(1)
				took := int64(time.Since(at))
				for old := longest.Load(); took > old && !longest.CompareAndSwap(old, took); old = longest.Load() {
				}
			}
		})
	}
	time.Sleep(d / 3)
	before := answered.Load()
	if err := json.NewEncoder(os.Stdout).Encode(measurement{Work: moveNow}); err != nil {
		return nil, err
	}
	all.Wait()
	return map[string]float64{
		"calls before": float64(before), "calls after": float64(answered.Load() - before),
		"failed": float64(failed.Load()), "longest ms": float64(longest.Load()) / 1e6,
	}, nil
}

// moveNow asks for the change.
const moveNow = "move now"
