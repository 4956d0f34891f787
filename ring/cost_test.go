package ring

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

func TestNoAllocations(t *testing.T) {
	if quarantineCosts || raceEnabled {
		t.Skip("guards and the race detector allocate")
	}
	x := newPair(t, MinSize)
	vs, in := make([]wire.Vesicle, 8), make([]wire.Vesicle, 8)
	for name, f := range map[string]func(){
		"claim, commit, flush, poll, release": func() {
			n, _ := x.p.Claim(vs, 100)
			for i := range vs[:n] {
				vs[i].Header = wire.Header{Kind: wire.KindEvent}
			}
			_ = x.p.Commit(vs[:n])
			_ = x.p.Flush()
			if got, err := x.c.Poll(in); got != n || n == 0 || err != nil {
				t.Fatalf("Poll = %d, %v after %d", got, err, n)
			}
			_ = x.c.Release(n)
		},
		"abort": func() { _, _ = x.p.Claim(vs, 100); x.p.Abort() },
		"full": func() {
			for {
				if _, err := x.p.Claim(vs, 1000); err != nil {
					break
				}
			}
			x.p.Abort()
		},
		"empty":             func() { _, _ = x.c.Poll(in); _ = x.p.Flush() },
		"arm, disarm":       func() { x.c.Arm(); x.c.Disarm(); x.p.ArmSpace(100); x.p.DisarmSpace() },
		"ring, drain":       func() { _ = x.data.Ring(); x.data.Drain() },
		"misuse":            func() { _ = x.c.Release(1); _ = x.p.Commit(vs); _, _ = x.p.Claim(vs, -1) },
		"counters, unread":  func() { _, _, _ = x.p.Stats(), x.c.Stats(), x.p.Unread() },
		"waking a sleeper":  func() { x.c.Arm(); exchange(x, vs, in); x.c.Disarm() },
		"waking a producer": func() { x.p.space.arm(); exchange(x, vs, in); x.p.DisarmSpace() },
	} {
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// exchange sends one record to the other side and takes it there.
func exchange(x *pair, vs, in []wire.Vesicle) {
	_, _ = x.p.Claim(vs[:1], 40)
	vs[0].Header = wire.Header{Kind: wire.KindEvent}
	_ = x.p.Commit(vs[:1])
	_ = x.p.Flush()
	_, _ = x.c.Poll(in[:1])
	_ = x.c.Release(1)
}

func init() { children["stream"] = childStream }

// childStream moves args[0] records from one pinned thread to another, both
// spinning, and ends.
func childStream(args []string) {
	total := must(strconv.Atoi(args[0]))
	near := must(Create(Options{Size: 64 << 10, Prefault: true}))
	far := must(Attach(near.FD(), SPSC))
	own, peer := must(NewDoorbell()), must(NewDoorbell())
	p, c := must(NewProducer(near, own, peer)), must(NewConsumer(far, peer, own))
	var both sync.WaitGroup
	both.Go(func() {
		pin(0)
		vs := make([]wire.Vesicle, 16)
		for sent := 0; sent < total; {
			n, err := p.Claim(vs[:min(len(vs), total-sent)], 40)
			if err == ErrFull {
				pause()
				continue
			}
			must(0, err)
			for i := range vs[:n] {
				vs[i].Header = wire.Header{Kind: wire.KindEvent, Correlation: uint32(sent)}
				sent++
			}
			must(0, p.Commit(vs[:n]))
			must(0, p.Flush())
		}
	})
	both.Go(func() {
		pin(1)
		in := make([]wire.Vesicle, 16)
		for received := 0; received < total; {
			n := must(c.Poll(in))
			for _, v := range in[:n] {
				if v.Header.Correlation != uint32(received) {
					must(0, ErrCorrupt)
				}
				received++
			}
			must(0, c.Release(n))
			pause()
		}
	})
	both.Wait()
}

// pin keeps this goroutine on one thread, and that on one core where there are
// several.
func pin(index int) {
	runtime.LockOSThread()
	var all, one unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil || all.Count() < 2 {
		return
	}
	for cpu := 0; ; cpu++ {
		if !all.IsSet(cpu) {
			continue
		}
		if index == 0 {
			one.Set(cpu)
			_ = unix.SchedSetaffinity(0, &one)
			return
		}
		index--
	}
}

// runtimeCalls are the system calls that the Go runtime makes by itself, more
// of them the longer a program runs.
var runtimeCalls = []string{
	"futex", "nanosleep", "clock_nanosleep", "epoll_pwait", "epoll_wait", "sched_yield", "tgkill",
	"rt_sigreturn", "rt_sigprocmask", "getpid", "gettid", "madvise", "restart_syscall", "mmap", "munmap",
}

// Ten times the messages must not mean more system calls.
func TestNoSystemCallsPerMessage(t *testing.T) {
	skipEmulated(t, "strace would trace the emulator")
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed; test.sh installs it")
	}
	if quarantineCosts {
		t.Skip("guards make system calls")
	}
	total := 1_000_000
	if testing.Short() {
		total = 100_000
	}
	few, many := trace(t, strace, total/10), trace(t, strace, total)
	own, all := 0, 0
	for name, n := range many {
		all += n - few[name]
		if !slices.Contains(runtimeCalls, name) {
			own += n - few[name]
		}
	}
	t.Logf("%d messages: %v; %d: %v", total/10, few, total, many)
	if own > 20 {
		t.Errorf("%d system calls more for %d messages more", own, total*9/10)
	}
	// The runtime's own grow with time: a sysmon tick every 20 µs at worst.
	if all > total/10 {
		t.Errorf("%d system calls more for %d messages more, with the runtime's", all, total*9/10)
	}
}

// trace runs the stream of total messages under strace and counts calls.
func trace(t *testing.T, strace string, total int) map[string]int {
	t.Helper()
	report := t.TempDir() + "/calls"
	cmd := exec.Command(strace, "-f", "-c", "-o", report, "/proc/self/exe")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[len(cmd.Args)-1] = exe
	cmd.Env = append(os.Environ(), childEnv+"=stream "+strconv.Itoa(total), "GOGC=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ptrace") || strings.Contains(string(out), "PTRACE") {
			t.Skip("strace may not trace here: ", string(out))
		}
		t.Fatalf("strace: %v\n%s", err, out)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]int{}
	for line := range strings.Lines(string(text)) {
		// % time, seconds, usecs/call, calls, [errors,] name
		f := strings.Fields(line)
		if len(f) < 5 || f[len(f)-1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(f[3]); err == nil {
			calls[f[len(f)-1]] = n
		}
	}
	if len(calls) < 3 {
		t.Fatalf("strace counted nothing:\n%s", text)
	}
	return calls
}
