package sched

import (
	"os"
	"strings"
)

const counterName = "cntvct"

// counterFrequency reads CNTFRQ_EL0, the rate that firmware has set.
func counterFrequency() uint64

// detectCounter decides whether CNTVCT_EL0 is a clock. The architecture
// promises one rate and one value for all cores; where a chip breaks that, the
// kernel works around it, or takes another clock source.
//
// Source: Arm Architecture Reference Manual, D12, "The Generic Timer";
// Linux drivers/clocksource/arm_arch_timer.c.
func detectCounter() (ok bool, why string) {
	b, err := os.ReadFile("/" + clocksourceFile)
	if err != nil {
		return false, "the kernel's clock source can't be read: " + err.Error()
	}
	if source := strings.TrimSpace(string(b)); source != "arch_sys_counter" {
		return false, "the kernel's clock source is " + source + ", not arch_sys_counter"
	}
	if counterFrequency() == 0 {
		return false, "firmware has not set CNTFRQ_EL0"
	}
	return true, ""
}

func counterHz() uint64 {
	if !counterOK {
		return 0
	}
	return counterFrequency()
}
