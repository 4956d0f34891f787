package linktest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// allocations returns what round allocates in steady state, in objects a call and
// with the places; "" if it is less than one.
//
// [testing.AllocsPerRun] counts the whole process. Most links have goroutines of
// their own, which may allocate in passing: one that looks after a silent peer asks
// the kernel about it, and on a slow machine many a peer is silent for that long.
// So if anything was counted, it is counted again with every allocation written
// down together with its stack, and those below round count alone.
func allocations(runs int, round func()) string {
	if testing.AllocsPerRun(runs, round) == 0 {
		return ""
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // as AllocsPerRun does
	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1
	// The old rate counts up to the next sample: on average half a MiB ahead.
	for range 64 { // each too large for the stack
		runtime.KeepAlive(make([]byte, 256<<10))
	}
	before := ownAllocations()
	for range runs {
		marked(round)
	}
	var found []string
	total := int64(0)
	for stack, n := range ownAllocations() {
		if n -= before[stack]; n > 0 {
			total += n
			found = append(found, fmt.Sprintf("\n%.2f allocations for each by %s", float64(n)/float64(runs), stack))
		}
	}
	if total < int64(runs) { // what grows now and then, which AllocsPerRun rounds off too
		return ""
	}
	slices.Sort(found)
	return strings.Join(found, "")
}

// marked is by what an allocation of the round is known.
//
//go:noinline
func marked(round func()) { round() }

// ownAllocations counts what was allocated below marked, by stack.
func ownAllocations() map[string]int64 {
	// What is allocated shows after the second of two cycles.
	runtime.GC()
	runtime.GC()
	var records []runtime.MemProfileRecord
	for n, ok := runtime.MemProfile(nil, true); !ok; {
		records = make([]runtime.MemProfileRecord, n+64)
		if n, ok = runtime.MemProfile(records, true); ok {
			records = records[:n]
		}
	}
	found := map[string]int64{}
	for i := range records {
		var stack strings.Builder
		for frames := runtime.CallersFrames(records[i].Stack()); ; {
			f, more := frames.Next()
			if strings.HasSuffix(f.Function, "linktest.marked") {
				found[stack.String()] += records[i].AllocObjects
				break
			}
			fmt.Fprintf(&stack, " %s:%d", f.Function, f.Line)
			if !more {
				break
			}
		}
	}
	return found
}
