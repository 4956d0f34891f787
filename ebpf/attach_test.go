package ebpf

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace runs f in a network namespace of its own, which ends with it, on
// one of a pair of veth interfaces.
func inNamespace(t *testing.T, f func(t *testing.T, ifindex int)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip: apt-get install iproute2")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("a namespace of its own: %v", err)
			return
		}
		for _, args := range [][]string{
			{"link", "add", "veth0", "type", "veth", "peer", "name", "veth1"},
			{"link", "set", "veth0", "up"}, {"link", "set", "veth1", "up"},
		} {
			if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
				t.Errorf("ip %v: %v\n%s", args, err, out)
				return
			}
		}
		i, err := net.InterfaceByName("veth0")
		if err != nil {
			t.Error(err)
			return
		}
		f(t, i.Index)
	}()
	<-done
}

// attached returns what is attached, without a word about failures: these
// tests do not run in the test's own goroutine.
func attached(t *testing.T, ifindex int) []Attachment {
	all, err := Attached(ifindex)
	if err != nil {
		t.Error(err)
	}
	return all
}

func TestAttach(t *testing.T) {
	loaded(t, true) // skips where nothing can be loaded
	for _, mode := range []Mode{ModeDriver, ModeGeneric} {
		t.Run(mode.String(), func(t *testing.T) {
			inNamespace(t, func(t *testing.T, ifindex int) {
				mine, theirs := mustLoad(t), mustLoad(t)
				if mine == nil || theirs == nil {
					return
				}
				defer theirs.Close()
				if err := mine.Attach(ifindex, mode); err != nil {
					t.Error(err)
				}
				there := attached(t, ifindex)
				if len(there) != 1 || there[0].Mode != mode || there[0].ID == 0 {
					t.Errorf("attached: %+v", there)
					return
				}
				for _, second := range []Mode{ModeAuto, ModeDriver, ModeGeneric} {
					err := theirs.Attach(ifindex, second)
					var occupied *OccupiedError
					if !errors.Is(err, ErrOccupied) || !errors.As(err, &occupied) || occupied.ID != there[0].ID || occupied.Interface != "veth0" {
						t.Errorf("a second program in mode %v: %v", second, err)
					}
				}
				if again := attached(t, ifindex); len(again) != 1 || again[0] != there[0] {
					t.Errorf("the refusal changed what is attached from %+v to %+v", there, again)
				}
				if err := mine.Close(); err != nil {
					t.Error(err)
				}
				if left := attached(t, ifindex); len(left) != 0 {
					t.Errorf("after Close: %+v", left)
				}
				if err := theirs.Attach(ifindex, mode); err != nil {
					t.Errorf("after the first has gone: %v", err)
				}
			})
		})
	}
}

func mustLoad(t *testing.T) *Redirect {
	r, err := LoadRedirect(testPort)
	if err != nil {
		t.Error(err)
	}
	return r
}

const envHold = "CELL_EBPF_TEST_HOLD"

// TestHold is no test: it is the process that TestNothingIsLeftBehind kills.
func TestHold(t *testing.T) {
	if os.Getenv(envHold) == "" {
		t.Skip("the child of TestNothingIsLeftBehindByTheDead")
	}
	i, err := net.InterfaceByName("veth0")
	if err != nil {
		t.Fatal(err)
	}
	r, err := LoadRedirect(testPort)
	if err == nil {
		err = r.Attach(i.Index, ModeAuto)
	}
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Minute)
	t.Fatal("nobody killed this process")
}

func TestNothingIsLeftBehindByTheDead(t *testing.T) {
	loaded(t, true)
	inNamespace(t, func(t *testing.T, ifindex int) {
		child := exec.Command(os.Args[0], "-test.run=^TestHold$")
		child.Env = append(os.Environ(), envHold+"=1")
		if err := child.Start(); err != nil {
			t.Error(err)
			return
		}
		wait := func(n int) bool {
			for range 10_000 {
				if len(attached(t, ifindex)) == n {
					return true
				}
				time.Sleep(10 * time.Millisecond)
			}
			return false
		}
		up := wait(1)
		if err := child.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = child.Wait() // killed
		if !up {
			t.Error("the child attached nothing")
		}
		if !wait(0) {
			t.Errorf("left behind: %+v", attached(t, ifindex))
		}
	})
}

// A connection asks now and then whether its program is still attached.
func TestAskingAfterTheAttachment(t *testing.T) {
	r := loaded(t, true)
	inNamespace(t, func(t *testing.T, ifindex int) {
		ask := func(want bool) {
			if got, err := r.Attached(); err != nil || got != want {
				t.Errorf("attached: %t, %v; want %t", got, err, want)
			}
		}
		ask(false)
		if err := r.Attach(ifindex, ModeGeneric); err != nil {
			t.Error(err)
			return
		}
		ask(true)
		if n := testing.AllocsPerRun(100, func() { ask(true) }); n != 0 {
			t.Errorf("%v allocations for each question", n)
		}
		if out, err := exec.Command("ip", "link", "del", "veth0").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		ask(false)
	})
}
