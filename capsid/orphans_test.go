package capsid

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// orphans returns what sweepOrphans would end.
func orphans() (all []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && isOrphan(pid) {
			all = append(all, pid)
		}
	}
	return all
}

// bubblewrap returns what starts it with some arguments, for a program that is not
// there.
func bubblewrap(t *testing.T) func(sys *syscall.SysProcAttr, args ...string) (*os.Process, error) {
	t.Helper()
	path, err := exec.LookPath("bwrap")
	if err != nil {
		t.Skip("bubblewrap is not installed")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	return func(sys *syscall.SysProcAttr, args ...string) (*os.Process, error) {
		argv := slices.Concat([]string{"bwrap"}, args, []string{"--die-with-parent", "--ro-bind", "/usr", "/usr", "--", shimPath, "x"})
		return os.StartProcess(path, argv, &os.ProcAttr{Files: []*os.File{null, null, null}, Sys: sys})
	}
}

// envSweeper makes the test the process that sweeps after it.
const envSweeper = "CELL_TEST_SWEEPER"

// sweepAfter has a process sweep when this one ends, which may be killed just when
// it has made an orphan.
func sweepAfter(t *testing.T) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), envSweeper+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // out of reach of what ends our group
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
}

// sweeper waits for the end of the test, and for what goes on by itself a moment
// longer.
func sweeper() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	for range 5 {
		sweepOrphans()
		time.Sleep(20 * time.Millisecond)
	}
}

// bubblewrap whose first process is killed before it has let the second one go
// on leaves that for ever; Sweep does not.
func TestWhatBubblewrapLeavesIsSwept(t *testing.T) {
	if os.Getenv(envSweeper) != "" {
		sweeper()
		return
	}
	begin := bubblewrap(t)
	sweepAfter(t)
	lost, found := 0, 0
	for until := time.Now().Add(3 * time.Second); found == 0 && time.Now().Before(until); {
		p, err := begin(&syscall.SysProcAttr{Setpgid: true}, "--unshare-user", "--unshare-pid")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(3 * time.Millisecond))
		_ = p.Kill()
		_, _ = p.Wait()
		// What goes on by itself is soon at its end: there is no such program.
		for range 100 {
			if lost = len(orphans()); lost == 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if lost == 0 {
			continue
		}
		if found = sweepOrphans(); found == 0 && len(orphans()) > 0 {
			t.Fatal("nothing was found")
		} // else a node of this host has swept before
	}
	if found == 0 {
		t.Skip("bubblewrap was never caught in the moment that matters")
	}
	for until := time.Now().Add(10 * time.Second); len(orphans()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("left: %v", orphans())
		}
	}
}

// Where the node may make pid namespaces, the kernel ends the rest as well, and
// nobody has to sweep. With CELL_SOAK=1: 300 times.
func TestBubblewrapLeavesNothingInANamespace(t *testing.T) {
	begin := bubblewrap(t)
	kills := 50
	if os.Getenv("CELL_SOAK") != "" {
		kills = 300
	}
	for range kills {
		p, err := begin(&syscall.SysProcAttr{Setpgid: true, Cloneflags: uintptr((&launch{}).makeWalls().namespaces)}, "--unshare-pid")
		if errors.Is(err, syscall.EPERM) {
			t.Skip("no namespaces without privileges")
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(3 * time.Millisecond))
		_ = p.Kill()
		_, _ = p.Wait() // which returns when all of the namespace have ended
		if left := orphans(); len(left) > 0 {
			t.Fatalf("left: %v", left)
		}
	}
}
