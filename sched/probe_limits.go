package sched

import (
	"fmt"
	"math"
)

// cpuset checks that the cores may be used at all.
func (p probe) cpuset() Finding {
	f := Finding{ID: "limit.cpuset"}
	g := p.t.Cgroup
	f.Evidence = fmt.Sprintf("affinity %s", orNone(p.t.Affinity))
	if !g.Cpuset.Empty() {
		f.Evidence += fmt.Sprintf(", cpuset %s (%s)", g.Cpuset, g.CpusetDir)
	}
	outside := p.cpus.Without(p.t.Usable)
	switch {
	case !outside.Empty():
		f.Severity = Problem
		f.What = fmt.Sprintf("CPUs %s can't be used by this process: %s", outside, usableLimits(p.t))
		f.Fix = fmt.Sprintf("choose among %s, or widen the limit", orNone(p.t.Usable))
	case p.t.Usable.Equal(p.t.Online):
		f.What = "the process may use all CPUs that are online"
	default:
		f.Severity = Info
		f.What = fmt.Sprintf("the process may use CPUs %s of %s", p.t.Usable, p.t.Online)
	}
	return f
}

// quota checks that a spinning thread is not stopped for having spun.
func (p probe) quota() Finding {
	f := Finding{ID: "limit.quota"}
	g := p.t.Cgroup
	if g.Quota == 0 {
		f.What = "no quota limits the CPU time"
		f.Evidence = "no cpu.max or cpu.cfs_quota_us with a number in any group above this process"
		return f
	}
	f.Evidence = fmt.Sprintf("%.2f CPUs by %s", g.Quota, g.QuotaDir)
	if stopped := p.throttling(g.QuotaDir); stopped != "" {
		f.Evidence += ", " + stopped
	}
	threads := p.cpus.Len()
	if p.cpus.Equal(p.t.Usable) {
		threads = 1 // nothing was chosen; one spinning thread is the least
	}
	f.Fix = "remove the quota (cpu.max = max, no --cpus, whole-number CPU requests with the static CPU manager), and limit by cpuset instead"
	if g.Quota < float64(threads) {
		f.Severity = Problem
		f.What = fmt.Sprintf("%d spinning threads use up a quota of %.2f CPUs and are then stopped for up to %.0f ms in each period",
			threads, g.Quota, math.Ceil((1-g.Quota/float64(threads))*float64(g.QuotaPeriod)/1000))
		return f
	}
	f.Severity = Warning
	f.What = fmt.Sprintf("a quota of %.2f CPUs stops all threads of the group, the spinning ones too, whenever together they exceed it", g.Quota)
	return f
}
