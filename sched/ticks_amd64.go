package sched

import (
	"os"
	"strings"
)

const counterName = "tsc"

// cpuid executes CPUID with the given leaf and sub-leaf 0.
func cpuid(leaf uint32) (eax, ebx, ecx, edx uint32)

// detectCounter decides whether the TSC is a clock. That its rate is constant
// in all power states is what the CPU says (the invariant TSC, constant_tsc
// and nonstop_tsc in /proc/cpuinfo); that it is the same on all cores is what
// the kernel has tested before it made it the clock source, and goes on
// testing.
//
// Sources: Intel SDM volume 3, 18.17.1 and AMD APM volume 3, E.4.8, both
// CPUID leaf 0x80000007 EDX bit 8; Linux arch/x86/kernel/tsc_sync.c.
func detectCounter() (ok bool, why string) {
	const (
		leafExtended = 0x80000000
		leafPower    = 0x80000007
		invariantTSC = 1 << 8
	)
	if highest, _, _, _ := cpuid(leafExtended); highest < leafPower {
		return false, "the CPU does not say that its TSC is invariant"
	}
	if _, _, _, edx := cpuid(leafPower); edx&invariantTSC == 0 {
		return false, "the CPU or the hypervisor says that the TSC is not invariant"
	}
	b, err := os.ReadFile("/" + clocksourceFile)
	if err != nil {
		return false, "the kernel's clock source can't be read: " + err.Error()
	}
	if source := strings.TrimSpace(string(b)); source != "tsc" {
		return false, "the kernel's clock source is " + source + ", not tsc"
	}
	return true, ""
}

// counterHz is 0: the TSC's rate is to be measured. CPUID leaf 0x15 has it on
// some processors only, and rounded.
func counterHz() uint64 { return 0 }
