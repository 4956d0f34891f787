package sched

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// counterOK says that the CPU's own counter may be trusted; where not,
	// the assembly of Ticks, which reads this, goes to monotonicTicks.
	counterOK  bool
	counterWhy string // why not
	// tickAnchor is read as early as can be, so that by the first conversion
	// the calibration span has usually passed.
	tickAnchor tickPair
)

// An init function rather than initialisers, because the compiler does not see
// that the assembly of Ticks depends on counterOK.
func init() {
	counterOK, counterWhy = detectCounter()
	tickAnchor = newTickPair()
}

const (
	// rateShift is the number of fractional bits of nanosPerTick: 2⁻³² of a
	// nanosecond a tick is finer than any counter's frequency is known.
	rateShift = 32
	// calibrationSpan is the least time over which the counter is compared
	// with the clock. Each comparison is good to some 20 ns, so the rate is
	// good to about 2 parts in a million, and 110 ns to far below a tick.
	calibrationSpan = 20 * time.Millisecond
)

var (
	// nanosPerTick is the rate, shifted left by rateShift; 0 until known.
	nanosPerTick  atomic.Uint64
	calibrateOnce sync.Once
)

// tickPair is one instant on both clocks.
type tickPair struct {
	ticks uint64
	nanos int64
}

// newTickPair reads the clock between two readings of the counter and keeps
// the tightest of several: an interrupt between them only widens the pair.
func newTickPair() tickPair {
	best := tickPair{ticks: Ticks(), nanos: Now()}
	tightest := uint64(math.MaxUint64)
	for range 16 {
		before := Ticks()
		nanos := Now()
		after := Ticks()
		if after-before < tightest {
			tightest = after - before
			best = tickPair{ticks: before + (after-before)/2, nanos: nanos}
		}
	}
	return best
}

// TicksToNanos converts a difference of [Ticks] into nanoseconds. Where the
// later reading was made on another core and came out smaller, the wrapped
// difference is taken for the small negative number that it is.
//
// The rate is found on first use: exactly from the hardware on arm64, by
// comparison with [Now] on amd64, good to some parts in a million. If the
// process is younger than 20 ms then, that first call sleeps for the rest; a
// program that minds calls [Clock] at start.
func TicksToNanos(ticks uint64) int64 {
	rate := nanosPerTick.Load()
	if rate == 0 {
		rate = calibrate()
	}
	if int64(ticks) < 0 {
		return -scaleTicks(-ticks, rate)
	}
	return scaleTicks(ticks, rate)
}

func scaleTicks(ticks, rate uint64) int64 {
	hi, lo := bits.Mul64(ticks, rate)
	return int64(hi<<(64-rateShift) | lo>>rateShift)
}

// NanosToTicks converts nanoseconds into a difference of [Ticks], so that a
// loop can compare raw readings with a deadline. Negative durations give 0,
// those beyond the counter's range the largest value. See [TicksToNanos] for
// the first call.
func NanosToTicks(nanos int64) uint64 {
	rate := nanosPerTick.Load()
	if rate == 0 {
		rate = calibrate()
	}
	if nanos <= 0 {
		return 0
	}
	hi, lo := uint64(nanos)>>(64-rateShift), uint64(nanos)<<rateShift
	if hi >= rate {
		return math.MaxUint64
	}
	ticks, _ := bits.Div64(hi, lo, rate)
	return ticks
}

// calibrate finds the rate once and returns it.
func calibrate() uint64 {
	calibrateOnce.Do(func() {
		switch hz := counterHz(); {
		case !counterOK:
			nanosPerTick.Store(1 << rateShift)
		case hz > 0: // the hardware tells
			rate, _ := bits.Div64(1e9>>(64-rateShift), 1e9<<rateShift, hz)
			nanosPerTick.Store(rate)
		default:
			nanosPerTick.Store(compareRate(tickAnchor))
		}
	})
	return nanosPerTick.Load()
}

// compareRate derives the rate from the time since an earlier pair.
func compareRate(from tickPair) uint64 {
	if age := time.Duration(Now() - from.nanos); age < calibrationSpan {
		time.Sleep(calibrationSpan - age)
	}
	to := newTickPair()
	nanos, ticks := uint64(to.nanos-from.nanos), to.ticks-from.ticks
	hi, lo := nanos>>(64-rateShift), nanos<<rateShift
	if ticks == 0 || hi >= ticks {
		return 1 << rateShift // a counter that stands still; nothing sane to say
	}
	rate, _ := bits.Div64(hi, lo, ticks)
	return max(rate, 1)
}

// ClockInfo describes what [Ticks] reads.
type ClockInfo struct {
	// Source is "tsc", "cntvct", or "monotonic" for the kernel's clock.
	Source string `json:"source"`
	// Why says why the source is not the CPU's counter; "" where it is.
	Why string `json:"why,omitempty"`
	// Hz is the rate, ticks a second.
	Hz float64 `json:"hz"`
	// StepNanos is the least difference but 0 between two readings. It can be
	// well above 1/Hz: a TSC of 2.6 GHz may advance by 26 at a time.
	StepNanos float64 `json:"step_ns"`
	// CostNanos is what one call of Ticks takes.
	CostNanos float64 `json:"cost_ns"`
}

// Clock measures and describes what [Ticks] reads, and makes sure that
// [TicksToNanos] has its rate. It takes up to 20 ms when called for the first
// time and well below 1 ms afterwards.
func Clock() ClockInfo {
	rate := float64(calibrate()) / (1 << rateShift)
	info := ClockInfo{Source: counterName, Hz: 1e9 / rate}
	if !counterOK {
		info.Source, info.Why = "monotonic", counterWhy
	}
	const readings = 512
	var step uint64
	fastest := uint64(math.MaxUint64)
	for range 8 {
		first := Ticks()
		last := first
		for range readings {
			now := Ticks()
			step = gcd(step, now-last)
			last = now
		}
		fastest = min(fastest, last-first)
	}
	info.StepNanos = float64(step) * rate
	info.CostNanos = float64(fastest) * rate / readings
	return info
}

// gcd finds the step by which readings differ: each difference is a multiple.
func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
