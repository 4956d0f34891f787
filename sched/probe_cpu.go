package sched

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// isolation checks that the scheduler leaves the cores alone.
func (p probe) isolation() Finding {
	f := Finding{ID: "cpu.isolation", Evidence: fmt.Sprintf("/%sisolated is %q", sysCPU, p.str(sysCPU+"isolated"))}
	if s := p.t.Cgroup.Isolated; !s.Empty() {
		f.Evidence += fmt.Sprintf(", isolated cpuset partitions have %s", s)
	}
	bare := p.cpus.Without(p.t.Isolated)
	if bare.Empty() {
		f.What = fmt.Sprintf("CPUs %s are isolated: the scheduler puts nothing else on them", p.cpus)
		return f
	}
	f.Severity = Warning
	f.What = fmt.Sprintf("CPUs %s are not isolated: any thread of the host may be run on them", bare)
	switch {
	case p.t.Online.Subset(p.cpus):
		f.Fix = "leave at least one CPU to the rest of the host, then isolate the others (isolcpus=)"
	case p.t.Isolated.Empty():
		f.Fix = fmt.Sprintf("boot with isolcpus=%s, or make an isolated cpuset partition (cpuset.cpus.partition = isolated)", p.cpus)
	default:
		f.Fix = fmt.Sprintf("use the isolated CPUs %s", p.t.Isolated)
	}
	return f
}

// nohzFull checks for the timer tick.
func (p probe) nohzFull() Finding {
	f := Finding{ID: "cpu.nohz_full", Evidence: fmt.Sprintf("/%snohz_full is %q", sysCPU, p.str(sysCPU+"nohz_full"))}
	ticking := p.cpus.Without(p.t.NoHzFull)
	switch {
	case ticking.Empty():
		f.What = fmt.Sprintf("CPUs %s have no timer tick while one thread runs", p.cpus)
	case p.str(sysCPU+"nohz_full") == "" && p.t.NoHzFull.Empty():
		f.Severity = Info
		f.What = "the timer tick interrupts a spinning core 100 to 1000 times a second for 1 to 5 µs; this kernel has no nohz_full"
		f.Evidence = fmt.Sprintf("/%snohz_full is missing or empty", sysCPU)
		f.Fix = "a kernel built with CONFIG_NO_HZ_FULL, booted with nohz_full= and rcu_nocbs="
	default:
		f.Severity = Warning
		f.What = fmt.Sprintf("the timer tick interrupts CPUs %s 100 to 1000 times a second for 1 to 5 µs", ticking)
		f.Fix = fmt.Sprintf("boot with nohz_full=%s rcu_nocbs=%s", p.cpus, p.cpus)
	}
	return f
}

// smt checks for busy neighbours on the same physical core.
func (p probe) smt() Finding {
	f := Finding{ID: "cpu.smt", Evidence: fmt.Sprintf("/%ssmt/active is %q", sysCPU, p.str(sysCPU+"smt/active"))}
	var siblings, both CPUSet
	for _, c := range p.t.CPUs {
		if others := c.Siblings.Without(CPUs(c.ID)); p.cpus.Has(c.ID) {
			siblings = siblings.Or(others)
			both = both.Or(others.And(p.cpus))
		}
	}
	switch {
	case siblings.Empty():
		f.What = fmt.Sprintf("CPUs %s have no SMT siblings online", p.cpus)
	case !both.Empty() && !p.cpus.Equal(p.t.Usable):
		f.Severity = Problem
		f.What = fmt.Sprintf("CPUs %s are siblings of each other: they share physical cores, each at about half speed", both)
		f.Fix = "choose one CPU of each physical core"
	case siblings.Without(p.cpus).Subset(p.t.Isolated) && both.Empty():
		f.Severity = Info
		f.What = fmt.Sprintf("the SMT siblings, CPUs %s, are isolated too: keep them idle, work there would take up to half the speed", siblings)
	default:
		f.Severity = Warning
		f.What = fmt.Sprintf("CPUs %s are hardware threads on the same physical cores: work there takes up to half the speed", siblings)
		others := siblings.Without(p.cpus)
		if others.Empty() {
			others = siblings
		}
		f.Fix = fmt.Sprintf("take them offline (echo 0 > /%scpuN/online for N in %s), keep them isolated and idle, or switch SMT off (echo off > /%ssmt/control)",
			sysCPU, others, sysCPU)
	}
	return f
}

// governor checks that the cores run at full speed.
func (p probe) governor() Finding {
	f := Finding{ID: "cpu.governor"}
	byName := map[string]CPUSet{}
	var names []string
	for _, id := range p.cpus.List() {
		name := p.str(sysCPU + "cpu" + strconv.Itoa(id) + "/cpufreq/scaling_governor")
		if _, seen := byName[name]; !seen {
			names = append(names, name)
		}
		byName[name] = byName[name].Or(CPUs(id))
	}
	if len(names) == 0 || (len(names) == 1 && names[0] == "") {
		f.Severity = Info
		f.What = "the kernel does not control the frequency: a hypervisor or the firmware does"
		f.Evidence = fmt.Sprintf("no /%scpu*/cpufreq", sysCPU)
		return f
	}
	var slow CPUSet
	for _, name := range names {
		if f.Evidence != "" {
			f.Evidence += "; "
		}
		f.Evidence += fmt.Sprintf("scaling_governor of CPUs %s is %q", byName[name], name)
		if name != "performance" {
			slow = slow.Or(byName[name])
		}
	}
	if driver := p.str(sysCPU + "cpu" + strconv.Itoa(p.cpus.First()) + "/cpufreq/scaling_driver"); driver != "" {
		f.Evidence += ", driver " + driver
	}
	f.What = fmt.Sprintf("CPUs %s run at full speed", p.cpus)
	if !slow.Empty() {
		f.Severity = Warning
		f.What = fmt.Sprintf("CPUs %s change their frequency with the load", slow)
		f.Fix = fmt.Sprintf("cpupower -c %s frequency-set -g performance", slow)
	}
	return f
}

// slowExit is the exit latency in microseconds above which an idle state hurts
// a thread that parks.
const slowExit = 10

// idleStates checks how long a parked core takes to wake.
func (p probe) idleStates() Finding {
	f := Finding{ID: "cpu.cstates"}
	driver := p.str(sysCPU + "cpuidle/current_driver")
	if driver == "" || driver == "none" {
		f.Severity = Info
		f.What = "the kernel does not choose idle states: halting exits to the hypervisor, or cores never sleep"
		f.Evidence = fmt.Sprintf("no driver in /%scpuidle/current_driver", sysCPU)
		return f
	}
	var slow []string
	deepest := int64(0)
	first := sysCPU + "cpu" + strconv.Itoa(p.cpus.First()) + "/cpuidle"
	for i := range 16 { // the kernel has at most 10 (CPUIDLE_STATE_MAX)
		state := path.Join(first, "state"+strconv.Itoa(i))
		latency, ok := p.integer(state + "/latency")
		if !ok {
			break
		}
		if latency > slowExit && p.str(state+"/disable") != "1" {
			slow = append(slow, fmt.Sprintf("%s %d µs", p.str(state+"/name"), latency))
			deepest = max(deepest, latency)
		}
	}
	f.Evidence = fmt.Sprintf("driver %s, governor %s", driver, p.str(sysCPU+"cpuidle/current_governor"))
	if len(slow) == 0 {
		f.What = fmt.Sprintf("no enabled idle state takes more than %d µs to leave", slowExit)
		return f
	}
	f.Severity = Warning
	f.What = fmt.Sprintf("a parked core may take %d µs to leave its idle state; a spinning one is not concerned", deepest)
	f.Evidence += "; exit latencies: " + strings.Join(slow, ", ")
	f.Fix = "hold /dev/cpu_dma_latency at 0 (HoldCStates does), or boot with cpuidle.off=1 or intel_idle.max_cstate=1"
	return f
}
