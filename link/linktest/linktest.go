// Package linktest is the conformance suite for implementations of
// [link.Link]. Every link runs the same cases, unchanged; one that passes works
// with the engine and rpc unchanged:
//
//	func TestConformance(t *testing.T) {
//		linktest.Run(t, linktest.Harness{
//			Open: func(t testing.TB) (a, b link.Link) { … },
//			CanPark: true,
//		})
//	}
//
// The package also has [Pipe], a link within one process: the reference that
// the suite is itself tested with, and a partner for tests of whatever works
// over links.
package linktest

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
)

// Harness tells the suite how to make links, and what they can't do.
type Harness struct {
	// Open returns the two ends of a new link. Each must take at least 16
	// vesicles of 200 bytes (or of MaxPayload, if that is less) before it
	// says ErrFull. The suite closes both. What else must be cleaned up goes
	// to t.Cleanup, except in the sense of LeaksUntilCleanup.
	Open func(t testing.TB) (a, b link.Link)

	// Kill ends the peer suddenly, as SIGKILL or a pulled plug would: without
	// a goodbye. The suite then calls nothing but Close on it. Optional.
	Kill func(t testing.TB, peer link.Link)

	// Reconnect connects two ends anew after both of the old link were
	// closed. Optional; Open is used without it.
	Reconnect func(t testing.TB, oldA, oldB link.Link) (a, b link.Link)

	// Garbage puts bytes that a hostile or noisy peer could produce where a
	// finds what b sent; b is no longer used, but for Close. It may choose
	// anything by rng. Optional.
	Garbage func(t testing.TB, rng *rand.Rand, a, b link.Link)

	// Lossy: vesicles may get lost. The suite then repeats them, and leaves
	// out what can't be said of such a link.
	Lossy bool
	// Unordered: vesicles may overtake each other.
	Unordered bool
	// CanPark: WaitFDs and the Arm methods work.
	CanPark bool
	// Spurious: a descriptor of WaitFDs may fire when no vesicle has come, as
	// where the network beneath a reliable link repeats or reorders frames. A
	// sleeper that finds nothing then arms and sleeps again.
	Spurious bool
	// OwnsControl: vesicles of wire.KindControl are the link's own and don't
	// come out.
	OwnsControl bool
	// Allocates: the medium's library allocates in steady state.
	Allocates bool
	// LeaksUntilCleanup: Close doesn't give back all descriptors and
	// mappings, because some are shared by all links that Open makes.
	LeaksUntilCleanup bool

	// MaxTotal is about how many bytes one case may move, and how many a link
	// may hold at most; default 32 MiB. Slow media set less.
	MaxTotal int
	// Timeout bounds each wait without progress; default 30 s.
	Timeout time.Duration
	// Settle is how long a link must say that it is full before a case believes
	// it: longer than its medium may pause while it still takes something.
	// Default 20 ms.
	Settle time.Duration
}

// Run runs all cases over links of h, each as a subtest of t.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.Open == nil {
		t.Fatal("linktest: Harness.Open is missing")
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { runCase(t, h, c) })
	}
}

// conformance is one case. skip returns why it does not apply, or "".
type conformance struct {
	name string
	skip func(h *Harness) string
	run  func(s *suite)
}

var cases = []conformance{
	{"info is sane and stable", nil, caseInfo},
	{"order", nil, caseOrder},
	{"length zero", nil, caseZeroLength},
	{"every length from 1 to 130", nil, caseSmallLengths},
	{"maximal length", nil, caseMaximalLength},
	{"one above the maximum", nil, caseTooLarge},
	{"odd sizes around the end of the memory", nil, caseWrap},
	{"batches of many sizes", nil, caseBatches},
	{"headers arrive bit-identical", nil, caseHeaders},
	{"both directions at once", nil, caseBothDirections},
	{"slow consumer", nil, caseSlowConsumer},

	{"commit in parts", exact, casePartialCommit},
	{"several claims before one flush", exact, caseSeveralClaims},
	{"abort at every position", exact, caseAbort},
	{"shortened payloads", exact, caseShortened},
	{"commit of more than was claimed", exact, caseCommitMisuse},
	{"release of more than was polled", exact, caseReleaseMisuse},
	{"several polls before one release", exact, caseSeveralPolls},
	{"full, then progress without loss", exact, caseBackpressure},
	{"counters", exact, caseStats},

	{"peer shuts down", nil, casePeerShutdown},
	{"peer closes", nil, casePeerClose},
	{"own shutdown", nil, caseOwnShutdown},
	{"shutdown by others in the midst of traffic", nil, caseShutdownInTraffic},
	{"close again", nil, caseCloseAgain},
	{"peer dies", needsKill, casePeerDies},
	{"peer dies with claims outstanding", needsKill, casePeerDiesClaiming},
	{"peer dies while this side sleeps", needsKillPark, casePeerDiesAsleep},
	{"garbage", needsGarbage, caseGarbage},
	{"reconnect", nil, caseReconnect},

	{"arm and disarm", needsPark, caseArm},
	{"arm for space", needsParkExact, caseArmSpace},
	{"no wake-up is lost, one at a time", needsParkExact, casePingPong},
	{"no wake-up is lost, streams", needsPark, caseParkedStreams},
	{"shutdown wakes sleepers", needsPark, caseShutdownWakes},
	{"a quiet link stays quiet", needsPark, caseQuiet},

	{"fragments", nil, caseFragments},
	{"no allocations", needsNoAllocations, caseAllocations},
	{"nothing is left behind", nil, caseLeaks},
}

func exact(h *Harness) string {
	if h.Lossy || h.Unordered {
		return "says nothing about a link that loses or reorders vesicles"
	}
	return ""
}

func needsKill(h *Harness) string {
	if h.Kill == nil {
		return "Harness.Kill is missing"
	}
	return ""
}

func needsPark(h *Harness) string {
	if !h.CanPark {
		return "the link can't park"
	}
	return ""
}

func needsKillPark(h *Harness) string  { return needsKill(h) + needsPark(h) }
func needsParkExact(h *Harness) string { return needsPark(h) + exact(h) }

func needsGarbage(h *Harness) string {
	if h.Garbage == nil {
		return "Harness.Garbage is missing"
	}
	return ""
}

func needsNoAllocations(h *Harness) string {
	switch {
	case h.Allocates:
		return "the medium's library allocates"
	case raceEnabled:
		return "with the race detector, what goes to a system call escapes"
	}
	return ""
}

// suite is what a case works with.
type suite struct {
	testing.TB
	h Harness
}

func runCase(t testing.TB, h Harness, c conformance) {
	t.Helper()
	if h.MaxTotal == 0 {
		h.MaxTotal = 32 << 20
	}
	if h.Timeout == 0 {
		h.Timeout = 30 * time.Second
	}
	if h.Settle == 0 {
		h.Settle = settle
	}
	if c.skip != nil {
		if why := c.skip(&h); why != "" {
			t.Skip(why)
		}
	}
	// Waits of the suite itself are bounded one by one. This is for a method
	// that never returns: no test can end it, so the process says where.
	name, limit := t.Name(), max(10*h.Timeout, time.Minute)
	watchdog := time.AfterFunc(limit, func() {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		panic(fmt.Sprintf("linktest: case %q (%s) has not ended after %v: a method of the link hangs\n%s", c.name, name, limit, stacks))
	})
	defer watchdog.Stop()
	c.run(&suite{TB: t, h: h})
}

// open makes a link and has it closed in the end.
func (s *suite) open() (a, b link.Link) {
	s.Helper()
	a, b = s.h.Open(s.TB)
	s.closeLater(a, b)
	return a, b
}

func (s *suite) closeLater(links ...link.Link) {
	s.Cleanup(func() {
		for _, l := range links {
			_ = l.Close()
		}
	})
}

// must ends the case with what went wrong, if anything did.
func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// most returns n, or as many vesicles of size as MaxTotal allows.
func (s *suite) most(n, size int) int { return max(1, min(n, s.h.MaxTotal/(size+32))) }

// small returns size, or the link's maximum if that is less.
func small(l link.Link, size int) int { return min(size, l.Info().MaxPayload) }
