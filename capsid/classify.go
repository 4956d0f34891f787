package capsid

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// classify turns a wait status, the node's decision and what the control group
// has counted into an Exit.
func classify(s syscall.WaitStatus, f fate, u Usage, l Limits) Exit {
	e := Exit{}
	if s.Signaled() {
		e.Signal = s.Signal()
	} else {
		e.Code = s.ExitStatus()
	}
	switch {
	case f.set:
		e.Cause, e.Limit, e.Why, e.Forced = f.cause, f.limit, f.why, f.forced
		if f.forced {
			e.Why += ", by force, since its grace had run out"
		}
	case e.Signal == syscall.SIGKILL && u.OutOfMemory > 0:
		e.Cause, e.Limit = OutOfMemory, "memory"
		e.Why = fmt.Sprintf("the kernel killed it at its memory limit, having used %d bytes at most (Limits.Memory)", u.PeakMemory)
	case e.Signal == syscall.SIGXCPU, e.Signal == syscall.SIGKILL && l.CPUTime > 0 && u.User+u.System+2*samplePace >= l.CPUTime:
		// Go programs take no notice of SIGXCPU; SIGKILL follows a second later.
		e.Cause, e.Limit, e.Why = LimitReached, "cpu time", "it used up its CPU time (Limits.CPUTime)"
	case e.Signal == syscall.SIGXFSZ:
		e.Cause, e.Limit, e.Why = LimitReached, "file size", "it wrote more to a file than it may (Limits.FileSize)"
	case e.Signal == syscall.SIGSYS:
		e.Cause, e.Why = Crashed, "it made a system call that is forbidden (SIGSYS)"
	case e.Signal != 0:
		e.Cause, e.Why = Crashed, fmt.Sprintf("signal %d (%v)", int(e.Signal), e.Signal)
	default:
		e.Why = fmt.Sprintf("with status %d", e.Code)
	}
	return e
}

// usageOf is what the kernel says at the end.
func usageOf(r syscall.Rusage) Usage {
	return Usage{User: time.Duration(r.Utime.Nano()), System: time.Duration(r.Stime.Nano()), PeakMemory: r.Maxrss << 10}
}

// usageOfProcess reads a living process.
func usageOfProcess(pid int, u *Usage) error {
	stat, err := readStat(pid)
	if err != nil {
		return err
	}
	const tick = time.Second / 100 // USER_HZ
	u.User, u.System = time.Duration(stat.utime)*tick, time.Duration(stat.stime)*tick
	u.Memory, u.Processes = stat.rss*int64(os.Getpagesize()), stat.threads
	return nil
}
