package capsid

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
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

// bubblewrap whose first process is killed before it has let the second one go
// on leaves that for ever; Sweep does not.
func TestWhatBubblewrapLeavesIsSwept(t *testing.T) {
	path, err := exec.LookPath("bwrap")
	if err != nil {
		t.Skip("bubblewrap is not installed")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	lost := 0
	for until := time.Now().Add(10 * time.Second); lost == 0 && time.Now().Before(until); {
		p, err := os.StartProcess(path, []string{"bwrap", "--unshare-user", "--unshare-pid", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--", shimPath, "x"},
			&os.ProcAttr{Files: []*os.File{null, null, null}, Sys: &syscall.SysProcAttr{Setpgid: true}})
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
	}
	if lost == 0 {
		t.Skip("bubblewrap was never caught in the moment that matters")
	}
	if n := sweepOrphans(); n == 0 {
		t.Error("nothing was found")
	}
	for until := time.Now().Add(10 * time.Second); len(orphans()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("left: %v", orphans())
		}
	}
}

// Where the node may make pid namespaces, the kernel ends the rest as well, and
// nobody has to sweep.
func TestBubblewrapLeavesNothingInANamespace(t *testing.T) {
	path, err := exec.LookPath("bwrap")
	if err != nil {
		t.Skip("bubblewrap is not installed")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for range 300 {
		p, err := os.StartProcess(path, []string{"bwrap", "--unshare-pid", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--", shimPath, "x"},
			&os.ProcAttr{Files: []*os.File{null, null, null}, Sys: (&launch{inner: true}).attributes()})
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
