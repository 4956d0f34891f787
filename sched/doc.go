// Package sched puts latency-critical threads on the right cores, keeps
// everything else away from them as far as an ordinary process may, and says
// what is wrong with a host and how to mend it.
//
// It has five parts:
//
//   - [Host.Topology] reads what the machine is: cores, SMT siblings, shared
//     caches, NUMA nodes, core types, and what of it this process may use
//     (affinity, cpuset, quota). A [Host] reads through an [io/fs.FS], so a
//     recorded machine is as good as the real one.
//   - [NewPlan] chooses cores for a workload and says why it chose each.
//   - [Pin], [SetFIFO], [Lock], [LockAll], [HoldCStates] and [SetTimerSlack]
//     apply a plan to the calling thread or process. What is refused is an
//     error that names the missing privilege and how to get it.
//   - [Host.Probe] looks for what disturbs a spinning core and returns a
//     [Finding] for each, with severity, evidence and fix; [Gaps] measures
//     what the disturbances add up to.
//   - [Now], [Ticks] and [Pause] are the clock and the spin hint of the hot
//     paths.
//
// The package is for Linux. It holds no goroutine and, apart from what
// [HoldCStates] returns, no descriptor.
package sched
