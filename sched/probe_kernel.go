package sched

import "fmt"

// clocksourceFile names the clock that the kernel keeps time with.
const clocksourceFile = "sys/devices/system/clocksource/clocksource0/current_clocksource"

// clocksource checks that reading the time costs no system call.
func (p probe) clocksource() Finding {
	name := p.str(clocksourceFile)
	f := Finding{ID: "host.clocksource", Evidence: fmt.Sprintf("/%s is %q", clocksourceFile, name)}
	switch name {
	case "tsc", "arch_sys_counter", "tod", "timebase", "riscv_clocksource":
		f.What = "the time is read from the CPU's own counter"
	case "kvm-clock", "hyperv_clocksource_tsc_page", "xen":
		f.Severity = Info
		f.What = "the time is read through a page of the hypervisor: no system call, but slower than the CPU's counter, and Ticks falls back to it"
		f.Fix = "have the hypervisor offer an invariant TSC, then boot with clocksource=tsc"
	case "":
		f.Severity = Info
		f.What = "what the kernel keeps time with can't be seen from here"
	default:
		f.Severity = Problem
		f.What = fmt.Sprintf("each reading of the time is a system call of about a microsecond: %s can't be read from user space", name)
		f.Fix = "find out why the kernel gave up the TSC (dmesg | grep -i tsc); where that was by mistake, boot with tsc=reliable"
	}
	return f
}

// realtime checks what the kernel takes back from SCHED_FIFO threads.
func (p probe) realtime() Finding {
	f := Finding{ID: "rt.throttling"}
	const dir = "proc/sys/kernel/"
	period := p.number(dir+"sched_rt_period_us", 1_000_000)
	runtime, ok := p.integer(dir + "sched_rt_runtime_us")
	if !ok {
		f.Severity = Info
		f.What = "whether spinning SCHED_FIFO threads are throttled can't be seen from here"
		f.Evidence = fmt.Sprintf("no /%ssched_rt_runtime_us", dir)
		return f
	}
	f.Evidence = fmt.Sprintf("sched_rt_runtime_us is %d, sched_rt_period_us is %d", runtime, period)
	if runtime < 0 || runtime >= period {
		f.What = "SCHED_FIFO threads are not throttled by this limit; a spinning one starves the kernel's threads on its core"
		return f
	}
	f.Severity = Warning
	f.What = fmt.Sprintf("a spinning SCHED_FIFO thread is stopped for up to %d ms in each %d ms, much worse than SCHED_OTHER on a quiet core",
		(period-runtime)/1000, period/1000)
	f.Fix = "leave spinning threads at SCHED_OTHER; or sysctl -w kernel.sched_rt_runtime_us=-1 " +
		"(since Linux 6.12 also /sys/kernel/debug/sched/fair_server/cpuN/runtime = 0)"
	return f
}

// watchdog checks for the lockup detectors.
func (p probe) watchdog() Finding {
	f := Finding{ID: "host.watchdog"}
	const dir = "proc/sys/kernel/"
	if p.number(dir+"watchdog", 0) == 0 {
		f.What = "the lockup detectors are off"
		f.Evidence = "/" + dir + "watchdog is 0 or missing"
		return f
	}
	mask := p.str(dir + "watchdog_cpumask")
	f.Evidence = fmt.Sprintf("watchdog 1, nmi_watchdog %s, watchdog_cpumask %q", p.str(dir+"nmi_watchdog"), mask)
	watched, err := ParseCPUList(mask)
	if err == nil && watched.And(p.cpus).Empty() {
		f.What = fmt.Sprintf("the lockup detectors do not watch CPUs %s", p.cpus)
		return f
	}
	f.Severity = Info
	f.What = fmt.Sprintf("the lockup detectors interrupt CPUs %s every few seconds", watched.And(p.cpus))
	f.Fix = "sysctl -w kernel.watchdog_cpumask=" + orNone(p.t.Online.Without(p.cpus))
	if p.t.Online.Subset(p.cpus) {
		f.Fix = "sysctl -w kernel.watchdog=0"
	}
	return f
}
