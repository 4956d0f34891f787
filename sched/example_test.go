package sched_test

import (
	"context"
	"fmt"
	"log"
	"runtime"
	"testing/fstest"
	"time"

	"github.com/cell-runtime/cell/sched"
)

// fourCores is a machine of four cores with one cache, the last two isolated.
func fourCores() *sched.Host {
	root := fstest.MapFS{}
	file := func(path, content string) { root[path] = &fstest.MapFile{Data: []byte(content)} }
	const cpu = "sys/devices/system/cpu/"
	file(cpu+"online", "0-3")
	file(cpu+"isolated", "2-3")
	for i := range 4 {
		cache := fmt.Sprintf(cpu+"cpu%d/cache/index0/", i)
		file(cache+"level", "3")
		file(cache+"type", "Unified")
		file(cache+"shared_cpu_list", "0-3")
	}
	return sched.NewHost(root)
}

func ExampleParseCPUList() {
	set, err := sched.ParseCPUList("0-3,8")
	fmt.Println(set.List(), set.Has(8), err)
	_, err = sched.ParseCPUList("3-1")
	fmt.Println(err)
	// Output:
	// [0 1 2 3 8] true <nil>
	// CPU list "3-1": sched: bad syntax: range "3-1" runs backwards
}

func ExampleNewPlan() {
	topology, err := fourCores().Topology()
	if err != nil {
		log.Fatal(err)
	}
	plan, err := sched.NewPlan(topology, sched.RingPair())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(plan)
	// Output:
	// engine 0: CPU 2 (isolated, not the core of CPU 0)
	// engine 1: CPU 3 (isolated, not the core of CPU 0)
	// control plane: CPU 0-1
	// the engines share one last-level cache
}

func ExampleHost_Probe() {
	host := fourCores()
	topology, err := host.Topology()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range host.Probe(topology, sched.CPUs(2, 3)) {
		if f.ID == "cpu.isolation" {
			fmt.Println(f)
		}
	}
	// Output:
	// ok      cpu.isolation: CPUs 2-3 are isolated: the scheduler puts nothing else on them
	//         evidence: /sys/devices/system/cpu/isolated is "2-3"
}

// A thread that spins: pinned, and with the wake-ups of the rest of the host
// kept quick.
func ExamplePin() {
	go func() {
		runtime.LockOSThread()
		undo, err := sched.Pin(1)
		if err != nil {
			log.Print(err) // says what to change; the engine runs unpinned
		} else {
			defer undo()
		}
		// … the duty cycle …
	}()
}

func ExampleTicks() {
	sched.Clock() // finds the rate now rather than at the first conversion
	start := sched.Ticks()
	// … a round trip of some 100 ns …
	nanos := sched.TicksToNanos(sched.Ticks() - start)
	fmt.Println(nanos < int64(time.Hour))
	// Output: true
}

func ExampleGaps() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	report := sched.Gaps(context.Background(), 10*time.Millisecond, time.Microsecond)
	fmt.Println(report.Elapsed >= 10*time.Millisecond)
	// Output: true
}
