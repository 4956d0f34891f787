package capsid

import (
	"errors"
	"path/filepath"
	"strconv"
)

// The bounds of a quota's period, in microseconds. What a cell may use in a period
// it uses at once, and as long as that takes others wait for its CPUs: with the
// kernel's own period of 100 ms, half a CPU is 25 ms on each of two CPUs. So the
// period is as short as the kernel's least quota (1 ms) and its timers allow.
const (
	leastQuota    = 1_000
	shortestQuota = 10_000
	longestQuota  = 100_000
)

// quotaOf returns what a limit of so many CPUs is in microseconds of each period.
func quotaOf(cpus float64) (quota, period int64) {
	period = min(max(int64(leastQuota/cpus+0.5), shortestQuota), longestQuota)
	return max(int64(cpus*float64(period)), leastQuota), period
}

// The kernel's share of a group that nobody has set, by version.
const (
	defaultWeight = 100
	defaultShares = 1024
)

// shareOf scales the default share to a cell with a limit: where CPUs are scarce, a
// cell that may use half a CPU gets half of what one without a limit does. That is
// how orchestrators derive shares from limits.
func shareOf(cpus float64, whole int64) int64 {
	return max(int64(min(cpus, 1)*float64(whole)), 2)
}

// limitCPU sets the limits of CPU time.
//
// Sources: Documentation/scheduler/sched-bwc.rst, admin-guide/cgroup-v2.rst.
func (d part) limitCPU(l Limits) error {
	set := func(file string, value int64) error {
		return writeGroup(filepath.Join(d.dir, file), strconv.FormatInt(value, 10))
	}
	share := set("cpu.shares", shareOf(l.CPU, defaultShares))
	if d.v2 {
		share = set("cpu.weight", shareOf(l.CPU, defaultWeight))
	}
	return errors.Join(share, d.quota(l.CPU))
}

// putBehind has the kernel run a folder of groups in what time others leave. It is
// done for each cell, since in version 2 the folder may have got the controller since
// the one before. Kernels before 5.15 have no such thing: there cells are behind those
// of their own folder.
func (h hierarchy) putBehind() error {
	return ifThere(writeGroup(filepath.Join(h.dir, "cpu.idle"), "1"))
}

// quota sets how much CPU time there is; 0 is no limit.
func (d part) quota(cpus float64) error {
	if cpus == 0 {
		return nil
	}
	quota, period := quotaOf(cpus)
	q, p := strconv.FormatInt(quota, 10), strconv.FormatInt(period, 10)
	if d.v2 {
		return writeGroup(filepath.Join(d.dir, "cpu.max"), q+" "+p)
	}
	return errors.Join(writeGroup(filepath.Join(d.dir, "cpu.cfs_period_us"), p), writeGroup(filepath.Join(d.dir, "cpu.cfs_quota_us"), q))
}
