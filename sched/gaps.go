package sched

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// GapLimits are the sizes over which [Gaps] counts.
var GapLimits = [...]time.Duration{
	1 * time.Microsecond, 10 * time.Microsecond, 20 * time.Microsecond,
	50 * time.Microsecond, 100 * time.Microsecond,
}

// GapReport is what was taken from a thread that did nothing but read the
// clock.
type GapReport struct {
	Elapsed   time.Duration `json:"elapsed_ns"`
	Threshold time.Duration `json:"threshold_ns"` // a shorter pause between two readings is no gap
	Readings  uint64        `json:"readings"`     // of the clock
	Count     uint64        `json:"count"`        // gaps of Threshold and longer
	// Over counts the gaps longer than each of GapLimits. Limits below
	// Threshold count only from there on.
	Over    [len(GapLimits)]uint64 `json:"over"`
	Longest time.Duration          `json:"longest_ns"`
	// Stolen is the sum of all gaps; StolenShare what part of Elapsed it is.
	Stolen      time.Duration `json:"stolen_ns"`
	StolenShare float64       `json:"stolen_share"`
	// Backward counts readings that were below the one before: the thread
	// moved between cores whose counters differ. Pin it.
	Backward uint64 `json:"backward"`
	// Preempted is how often the kernel ran another thread in between. Gaps
	// far in excess of it are interrupts, the hypervisor or the firmware.
	Preempted int64 `json:"preempted"`
}

// Gaps spins on the clock on the calling thread for d, or until ctx is done,
// and reports the time between readings that was at least threshold: time that
// interrupts, other threads, the hypervisor, firmware or Go's runtime took
// from the core. It is what oslat and sysjitter do.
//
// The caller has locked the goroutine to its thread and, for a meaningful
// result, pinned it. The loop allocates nothing and makes no system call;
// thresholds below about 200 ns count the loop itself. One core is busy for d.
func Gaps(ctx context.Context, d, threshold time.Duration) GapReport {
	// Conversions now: the first may sleep, and none belongs into the loop.
	var limits [len(GapLimits)]uint64
	for i, l := range GapLimits {
		limits[i] = NanosToTicks(int64(l))
	}
	g := gapCounter{least: max(NanosToTicks(int64(threshold)), 1), limits: limits}
	done := ctx.Done()
	preempted := involuntarySwitches()

	first := TicksRelaxed()
	end := first + min(NanosToTicks(int64(d)), math.MaxInt64)
	last := first
	for int64(end-last) > 0 {
		last = g.spin(last, end)
		select {
		case <-done:
			end = last
			continue
		default:
		}
		// The rate may have been refined meanwhile: d is a promise in time.
		if rest := int64(d) - TicksToNanos(last-first); int64(end-last) <= 0 && rest > 0 {
			end = last + NanosToTicks(rest) + 1
		}
	}

	r := GapReport{
		Elapsed: time.Duration(TicksToNanos(last - first)), Threshold: threshold,
		Readings: g.readings, Count: g.count, Over: g.over, Backward: g.backward,
		Longest:   time.Duration(TicksToNanos(g.longest)),
		Stolen:    time.Duration(TicksToNanos(g.stolen)),
		Preempted: involuntarySwitches() - preempted,
	}
	if r.Elapsed > 0 {
		r.StolenShare = float64(r.Stolen) / float64(r.Elapsed)
	}
	return r
}

// gapCounter counts in ticks.
type gapCounter struct {
	least    uint64
	limits   [len(GapLimits)]uint64
	readings uint64
	count    uint64
	over     [len(GapLimits)]uint64
	longest  uint64
	stolen   uint64
	backward uint64
}

// spin makes some thousand readings, tens of microseconds, or reads until end,
// and returns the last. The caller looks for cancellation in between.
func (g *gapCounter) spin(last, end uint64) uint64 {
	least := g.least
	for range 4096 {
		now := TicksRelaxed()
		g.readings++
		// One comparison on the usual path: a step back is huge unsigned.
		if gap := now - last; gap >= least {
			g.record(gap)
		}
		last = now
		if int64(end-now) <= 0 {
			break
		}
	}
	return last
}

func (g *gapCounter) record(gap uint64) {
	if int64(gap) < 0 {
		g.backward++
		return
	}
	g.count++
	g.stolen += gap
	g.longest = max(g.longest, gap)
	for i, limit := range g.limits {
		if gap > limit {
			g.over[i]++
		}
	}
}

// involuntarySwitches returns how often the kernel has taken the core from the
// calling thread.
func involuntarySwitches() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return int64(u.Nivcsw)
}

// String returns the report in a few lines for a terminal.
func (r GapReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d gaps of %v and more in %v: %.3f %% of the time, longest %v, %d preemptions\n",
		r.Count, r.Threshold, r.Elapsed.Round(time.Millisecond), 100*r.StolenShare, r.Longest, r.Preempted)
	seconds := r.Elapsed.Seconds()
	for i, limit := range GapLimits {
		if limit < r.Threshold || seconds == 0 {
			continue
		}
		fmt.Fprintf(&b, "  over %6v: %8d  %10.1f a second\n", limit, r.Over[i], float64(r.Over[i])/seconds)
	}
	return b.String()
}
