package ring

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// crossing is two rings and two doorbells as one process sees them.
type crossing struct {
	in, out  *Memory
	c        *Consumer
	p        *Producer
	own      *Doorbell
	peer     *Doorbell
	park     bool
	deadline time.Time
}

func (x *crossing) sides() (err error) {
	if x.p, err = NewProducer(x.out, x.own, x.peer); err == nil {
		x.c, err = NewConsumer(x.in, x.own, x.peer)
	}
	return err
}

// wait lets time pass until something may have changed: asleep, or by giving
// the core away where both processes may share one.
func (x *crossing) wait(arm func() bool, disarm func()) error {
	if time.Now().After(x.deadline) {
		return fmt.Errorf("no progress for %v", patience)
	}
	if !x.park {
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		return nil
	}
	if !arm() {
		return nil
	}
	fds := [1]unix.PollFd{{Fd: int32(x.own.FD()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds[:], int(patience.Milliseconds()))
	if n == 0 && err == nil {
		return fmt.Errorf("asleep for %v", patience)
	}
	disarm()
	return nil
}

const patience = 20 * time.Second

// receive returns the next record.
func (x *crossing) receive() (v wire.Vesicle, err error) {
	var in [1]wire.Vesicle
	x.deadline = time.Now().Add(patience)
	for spins := 0; ; spins++ {
		n, err := x.c.Poll(in[:])
		if n == 1 || err != nil {
			return in[0], err
		}
		if spins%500 == 499 {
			if err := x.wait(x.c.Arm, x.c.Disarm); err != nil {
				return v, err
			}
		}
		pause()
	}
}

// send sends one record that f fills.
func (x *crossing) send(h wire.Header, size int, f func([]byte)) error {
	var vs [1]wire.Vesicle
	x.deadline = time.Now().Add(patience)
	for {
		_, err := x.p.Claim(vs[:], size)
		if err == nil {
			break
		}
		if err != ErrFull {
			return err
		}
		if err := x.wait(func() bool { return x.p.ArmSpace(size) }, x.p.DisarmSpace); err != nil {
			return err
		}
	}
	f(vs[0].Payload)
	vs[0].Header = h
	if err := x.p.Commit(vs[:]); err != nil {
		return err
	}
	return x.p.Flush()
}

// crossProcess starts this binary as role with the other ends of two rings.
func crossProcess(t *testing.T, size int, park bool, role string) (*crossing, func()) {
	t.Helper()
	skipEmulated(t, "it can't start this binary again")
	x := &crossing{park: park}
	x.in, x.out = newMemory(t, Options{Size: size}), newMemory(t, Options{Size: size})
	x.own, x.peer = newBell(t), newBell(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+role+" "+strconv.FormatBool(park))
	cmd.Stderr = os.Stderr
	for _, fd := range []int{x.out.FD(), x.in.FD(), x.peer.FD(), x.own.RingFD()} {
		f := os.NewFile(uintptr(duplicate(t, fd)), "passed")
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	if err := x.sides(); err != nil {
		t.Fatal(err)
	}
	return x, func() {
		t.Helper()
		ended = true
		if err := cmd.Wait(); err != nil {
			t.Errorf("the other process: %v", err)
		}
	}
}

func init() {
	children["echo"] = func(args []string) {
		x := &crossing{park: args[0] == "true"}
		x.in, x.out = must(Attach(3, SPSC)), must(Attach(4, SPSC))
		x.own, x.peer = waitingOn(5), must(AttachDoorbell(6))
		must(0, x.sides())
		for {
			v := must(x.receive())
			must(0, x.send(v.Header, len(v.Payload), func(b []byte) { copy(b, v.Payload) }))
			must(0, x.c.Release(1))
			if v.Header.Flags&wire.FlagEnd != 0 {
				return
			}
		}
	}
}

// must ends a child that can't go on.
func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", strings.Join(os.Args, " "), err)
		os.Exit(2)
	}
	return v
}

func TestTwoProcesses(t *testing.T) {
	for _, park := range []bool{false, true} {
		t.Run(map[bool]string{false: "spin", true: "park"}[park], func(t *testing.T) {
			x, end := crossProcess(t, MinSize, park, "echo")
			rounds := 20_000
			if brief() || park {
				rounds = 2_000
			}
			for n := range rounds {
				h := header(uint32(n))
				size := stamp + n%500
				if n == rounds-1 {
					h.Flags = wire.FlagEnd
				}
				if err := x.send(h, size, func(b []byte) { sign(b, uint64(n)) }); err != nil {
					t.Fatalf("round %d: %v", n, err)
				}
				v, err := x.receive()
				if err != nil {
					t.Fatalf("round %d: %v", n, err)
				}
				if v.Header.Correlation != uint32(n) || len(v.Payload) != size || !genuine(v.Payload, uint64(n)) {
					t.Fatalf("round %d: %+v with %d bytes came back", n, v.Header, len(v.Payload))
				}
				if err := x.c.Release(1); err != nil {
					t.Fatal(err)
				}
			}
			end()
		})
	}
}
