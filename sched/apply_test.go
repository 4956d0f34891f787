package sched

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onThread runs f on an OS thread of its own, which ends with f: whatever f
// did to it can't leak into other tests.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends
		f()
	}()
	<-done
}

// asNobody runs f on a thread without privileges.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	onThread(func() {
		const nobody = 65534
		// The raw call concerns this thread alone, unlike syscall.Setresuid.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			t.Errorf("setresuid: %v", errno)
			return
		}
		f()
	})
}

func TestPin(t *testing.T) {
	before, err := Pinned()
	if err != nil {
		t.Fatal(err)
	}
	onThread(func() {
		for _, id := range before.List() {
			undo, err := Pin(id)
			if err != nil {
				t.Error(err)
				return
			}
			if now, err := Pinned(); err != nil || !now.Equal(CPUs(id)) {
				t.Errorf("pinned to %v, %v; want %d", now, err, id)
			}
			undo()
			if now, err := Pinned(); err != nil || !now.Equal(before) {
				t.Errorf("after undo %v, %v; want %v", now, err, before)
			}
		}
	})
	if after, err := Pinned(); err != nil || !after.Equal(before) {
		t.Errorf("another thread was moved: %v, %v", after, err)
	}
}

func TestPinRefuses(t *testing.T) {
	for _, id := range []int{-1, 1024, maxPinned - 1, maxPinned, 1 << 30} {
		undo, err := Pin(id)
		if !errors.Is(err, ErrCPU) || undo != nil {
			t.Errorf("Pin(%d): %v", id, err)
		}
	}
	if err := pinError(3, unix.EPERM); !errors.Is(err, ErrPrivilege) || !errors.Is(err, unix.EPERM) {
		t.Error(err)
	}
}

func TestSetFIFO(t *testing.T) {
	policy := func() uint32 {
		attr, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
			return 0
		}
		return attr.Policy
	}
	var err error
	onThread(func() {
		var undo func()
		if undo, err = SetFIFO(MinFIFO); err != nil {
			return
		}
		if policy() != unix.SCHED_FIFO {
			t.Error("the policy is not SCHED_FIFO")
		}
		undo()
		if policy() != unix.SCHED_NORMAL {
			t.Error("undo did not restore the policy")
		}
	})
	if errors.Is(err, ErrPrivilege) {
		t.Skipf("needs CAP_SYS_NICE: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSetFIFORefusesPriorities(t *testing.T) {
	for _, priority := range []int{0, 100, -1} {
		if _, err := SetFIFO(priority); !errors.Is(err, unix.EINVAL) {
			t.Errorf("SetFIFO(%d): %v", priority, err)
		}
	}
}

func TestLock(t *testing.T) {
	b, err := unix.Mmap(-1, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	undo, err := Lock(b)
	if errors.Is(err, ErrPrivilege) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := lockedKiB(t); got < 64 {
		t.Errorf("%d KiB are locked, want at least 64", got)
	}
	undo()
	undo, err = Lock(nil)
	if err != nil {
		t.Fatal(err)
	}
	undo()
}

func TestLockAll(t *testing.T) {
	undo, err := LockAll()
	if errors.Is(err, ErrPrivilege) {
		t.Skipf("needs CAP_IPC_LOCK: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if lockedKiB(t) == 0 {
		t.Error("nothing is locked")
	}
	undo()
	if got := lockedKiB(t); got != 0 {
		t.Errorf("%d KiB are still locked", got)
	}
}

func lockedKiB(t *testing.T) int {
	t.Helper()
	n := 0
	for _, c := range strings.TrimSuffix(field(Local().str("proc/self/status"), "VmLck"), " kB") {
		n = n*10 + int(c-'0')
	}
	return n
}

func TestHoldCStates(t *testing.T) {
	before := openDescriptors(t)
	hold, err := HoldCStates()
	if errors.Is(err, ErrPrivilege) || errors.Is(err, ErrNotSupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC() // the hold must not depend on a reachable os.File
	if got := openDescriptors(t); got != before+1 {
		t.Errorf("%d descriptors, want %d", got, before+1)
	}
	if err := errors.Join(hold.Close(), hold.Close()); err != nil {
		t.Error(err)
	}
	if got := openDescriptors(t); got != before {
		t.Errorf("%d descriptors after Close, want %d", got, before)
	}
}

func TestHoldCStatesRefuses(t *testing.T) {
	if _, err := holdCStates("/nonexistent/cpu_dma_latency"); !errors.Is(err, ErrNotSupported) {
		t.Error(err)
	}
	before := openDescriptors(t)
	if _, err := holdCStates("/dev/full"); !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	if got := openDescriptors(t); got != before {
		t.Errorf("%d descriptors, want %d", got, before)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestSetTimerSlack(t *testing.T) {
	slack := func() int {
		n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	onThread(func() {
		before := slack()
		undo, err := SetTimerSlack(time.Nanosecond)
		if err != nil {
			t.Error(err)
			return
		}
		if got := slack(); got != 1 {
			t.Errorf("slack is %d ns", got)
		}
		undo()
		if got := slack(); got != before {
			t.Errorf("slack is %d ns after undo, was %d", got, before)
		}
	})
	if _, err := SetTimerSlack(0); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
}

// TestWithoutPrivilege holds every refusal to naming what is missing.
func TestWithoutPrivilege(t *testing.T) {
	mapping, err := unix.Mmap(-1, 0, 1<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapping)
	asNobody(t, func() {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
			t.Error(err)
		}
		for _, c := range []struct {
			name  string
			apply func() error
			skip  bool
			says  []string
		}{
			{"SetFIFO", func() error { _, err := SetFIFO(50); return err }, false, []string{"CAP_SYS_NICE", "LimitRTPRIO=50"}},
			{"Lock", func() error { _, err := Lock(mapping); return err }, limit.Cur > 1<<30, []string{"CAP_IPC_LOCK", "LimitMEMLOCK"}},
			{"LockAll", func() error { _, err := LockAll(); return err }, limit.Cur > 1<<30, []string{"CAP_IPC_LOCK", "ulimit -l"}},
			{"HoldCStates", func() error { _, err := HoldCStates(); return err }, !exists(dmaLatency), []string{dmaLatency, "udev"}},
		} {
			if c.skip {
				continue
			}
			err := c.apply()
			if !errors.Is(err, ErrPrivilege) {
				t.Errorf("%s: %v; want ErrPrivilege", c.name, err)
				continue
			}
			for _, part := range c.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s does not say %q: %v", c.name, part, err)
				}
			}
		}
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
