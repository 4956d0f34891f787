package ring

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// standstill is for how long nothing may get on, on a host that has other things to
// do, or emulates this one's processor.
const standstill = 2 * time.Minute

// sendAll sends the numbers up to total in batches of all sizes.
func sendAll(p *SharedProducer, sender, total uint32) error {
	vs := make([]wire.Vesicle, 9)
	seed := sender * 2654435761
	deadline := time.Now().Add(standstill)
	for number := uint32(0); number < total; {
		seed = seed*1664525 + 1013904223
		size, n := int(seed>>8)%300, min(1+int(seed>>24)%len(vs), int(total-number))
		n, err := p.Claim(vs[:n], size)
		if errors.Is(err, ErrFull) {
			if time.Now().After(deadline) {
				return fmt.Errorf("no room after %d records", number)
			}
			yield()
			continue
		}
		if err != nil {
			return err
		}
		if seed&0xf0 == 0 {
			p.Abort()
			continue
		}
		issue(vs[:n], label{sender, number})
		part := int(seed>>4) % (n + 1)
		if err := errors.Join(p.Commit(vs[:part]), p.Commit(vs[part:n]), p.Flush()); err != nil {
			return err
		}
		number += uint32(n)
		deadline = time.Now().Add(standstill)
	}
	return nil
}

// yield lets goroutines and processes run that this one waits for.
func yield() {
	runtime.Gosched()
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
}

// await sleeps on the doorbell if arm allows it; false means that nobody rang
// for far too long.
func await(arm func() bool, disarm func(), bell *Doorbell) bool {
	if !arm() {
		return true
	}
	defer disarm()
	fds := []unix.PollFd{{Fd: int32(bell.FD()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(standstill.Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// takeAll receives total records of each sender, in order.
func (f *fan) takeAll(senders int, total uint32, park bool) {
	f.t.Helper()
	next := map[uint32]uint32{}
	in := make([]wire.Vesicle, 32)
	deadline := time.Now().Add(standstill)
	for done := 0; done < senders; {
		n, err := f.c.Poll(in)
		if err != nil {
			f.t.Fatal("Poll:", err)
		}
		for _, v := range in[:n] {
			l, err := labelOf(v)
			if err != nil || l.number != next[l.sender] {
				f.t.Fatalf("record %v (%v), want %d", l, err, next[l.sender])
			}
			if next[l.sender]++; next[l.sender] == total {
				done++
			}
		}
		if err := f.c.Release(n); err != nil {
			f.t.Fatal(err)
		}
		switch {
		case n > 0:
			deadline = time.Now().Add(standstill)
		case time.Now().After(deadline):
			f.t.Fatalf("nothing has come for %v: %v", standstill, next)
		case !park:
			yield()
		case !await(f.c.Arm, f.c.Disarm, f.bell):
			f.t.Fatalf("slept over what was committed: %v, stuck: %v", next, f.c.Stuck())
		}
	}
}

func TestSharedStress(t *testing.T) {
	total := uint32(40_000)
	if brief() {
		total = 2_000
	}
	for _, v := range []struct {
		name    string
		size    int
		senders int
		park    bool
	}{
		{"one producer, small ring, spin", MinSize, 1, false},
		{"four producers, small ring, spin", MinSize, 4, false},
		{"four producers, small ring, park", MinSize, 4, true},
		{"eight producers, large ring, park", 64 << 10, 8, true},
	} {
		t.Run(v.name, func(t *testing.T) {
			f := newFan(t, v.size)
			var all sync.WaitGroup
			for i := range v.senders {
				p := f.producer(0)
				all.Go(func() {
					if err := sendAll(p, uint32(i), total); err != nil {
						t.Errorf("sender %d: %v", i, err)
						f.c.Stop(false)
					}
				})
			}
			f.takeAll(v.senders, total, v.park)
			all.Wait()
			f.take() // aborted claims
			f.settled()
		})
	}
}

func init() {
	children["mpsc-worker"] = func(args []string) {
		bell := must(AttachDoorbell(4))
		p := must(NewSharedProducer(must(Attach(3, MPSC)), bell))
		defer p.Close()
		if err := sendAll(p, uint32(must(strconv.Atoi(args[0]))), uint32(must(strconv.Atoi(args[1])))); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
	}
	children["broadcast-listener"] = func(args []string) {
		bell := waitingOn(5)
		alarm := must(AttachAlarm(4, bell))
		s := must(NewSubscriber(must(Attach(3, Broadcast)), Oldest, alarm))
		if err := listen(s, bell, uint64(must(strconv.Atoi(args[0])))); err != nil {
			fmt.Fprintln(os.Stderr, "listener:", err)
			os.Exit(1)
		}
	}
}

// spawn starts this binary as another process of the test, which finds the
// descriptors from 3 on.
func spawn(t testing.TB, words string, fds ...int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(must(os.Executable()))
	cmd.Env = append(os.Environ(), childEnv+"="+words)
	cmd.Stderr = os.Stderr
	for _, fd := range fds {
		file := os.NewFile(uintptr(duplicate(t, fd)), "for a child")
		defer file.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestSharedProcesses(t *testing.T) {
	skipEmulated(t, "starts processes")
	for name, park := range map[string]bool{"spin": false, "park": true} {
		t.Run(name, func(t *testing.T) {
			const senders, total = 3, 10_000
			f := newFan(t, 16<<10)
			var cmds []*exec.Cmd
			for i := range senders {
				cmds = append(cmds, spawn(t, fmt.Sprintf("mpsc-worker %d %d", i, total), f.m.FD(), f.bell.RingFD()))
			}
			f.takeAll(senders, total, park)
			for _, cmd := range cmds {
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
			}
			f.take()
			f.settled()
			if f.freeSlots() != slotCount {
				t.Error("a slot was not freed")
			}
		})
	}
}

// listen receives until it has seen the record with the number last, in turn by
// copying and in place. It needs the listener's word that what was intact was
// right, and that lost and read add up.
func listen(s *Subscriber, bell *Doorbell, last uint64) error {
	first := s.Sequence()
	buf, in := make([]byte, s.MaxPayload()), make([]wire.Vesicle, 16)
	read, laps := uint64(0), 0
	deadline := time.Now().Add(standstill)
	for s.Sequence() <= last {
		seq := s.Sequence()
		var n int
		var err error
		if seq/64%2 == 0 {
			var v wire.Vesicle
			if v, err = s.Receive(buf); err == nil {
				n = 1
				if l, err := labelOf(v); err != nil || uint64(l.number) != seq {
					return fmt.Errorf("received %v instead of %d: %w", l, seq, err)
				}
				read++
			}
		} else if n, err = s.Poll(in); n > 0 {
			var wrong error
			for i, v := range in[:n] {
				if l, err := labelOf(v); err != nil || uint64(l.number) != seq+uint64(i) {
					wrong = fmt.Errorf("polled %v instead of %d: %w", l, seq+uint64(i), err)
				}
			}
			intact, err := s.Release(n)
			if err != nil {
				return err
			}
			if intact && wrong != nil {
				return fmt.Errorf("declared intact: %w", wrong)
			}
			if intact {
				read += uint64(n)
			}
		}
		switch {
		case n > 0:
			deadline = time.Now().Add(standstill)
		case errors.Is(err, ErrLapped):
			laps++
		case err != nil && !errors.Is(err, ErrEmpty):
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("no end at %d", s.Sequence())
		case bell == nil:
			yield()
		case !await(s.Arm, s.Disarm, bell):
			return fmt.Errorf("slept over what was published: at %d", s.Sequence())
		}
	}
	if read+s.Lost() != s.Sequence()-first {
		return fmt.Errorf("read %d and lost %d of %d", read, s.Lost(), s.Sequence()-first)
	}
	return nil
}

// speak publishes the numbers up to last, now and then slowly enough for
// listeners to keep up and fall asleep.
func (a *air) speak(last uint64) error {
	vs := make([]wire.Vesicle, 9)
	seed := uint32(1)
	for a.p.Sequence() <= last {
		seed = seed*1664525 + 1013904223
		size, n := int(seed>>8)%300, 1+int(seed>>24)%len(vs)
		n, err := a.p.Claim(vs[:n], size)
		if err != nil {
			return err
		}
		issue(vs[:n], label{0, uint32(a.p.Sequence())})
		if err := errors.Join(a.p.Commit(vs[:n]), a.p.Flush()); err != nil {
			return err
		}
		if seed&0x3f00 == 0 {
			time.Sleep(100 * time.Microsecond)
		}
	}
	return nil
}

func TestBroadcastStress(t *testing.T) {
	last := uint64(200_000)
	if brief() {
		last = 5_000
	}
	for name, size := range map[string]int{"small ring": MinSize, "large ring": 256 << 10} {
		t.Run(name, func(t *testing.T) {
			a := newAir(t, size)
			var all sync.WaitGroup
			for i := range 4 {
				s, bell := a.subscriber(Newest), (*Doorbell)(nil)
				if i%2 == 0 {
					var alarm *Alarm
					s, alarm, bell = a.alarmed()
					a.p.Subscribe(alarm)
				}
				all.Go(func() {
					if err := listen(s, bell, last); err != nil {
						t.Errorf("listener %d: %v", i, err)
					}
				})
			}
			if err := a.speak(last); err != nil {
				t.Error(err)
			}
			all.Wait()
		})
	}
}

func TestBroadcastProcesses(t *testing.T) {
	skipEmulated(t, "starts processes")
	last := uint64(300_000)
	if brief() {
		last = 5_000
	}
	a := newAir(t, 16<<10)
	var cmds []*exec.Cmd
	for range 2 {
		// The parent makes the alarm here, and the child attaches it; who does
		// which makes no difference.
		bell := newBell(t)
		alarm := must(NewAlarm(bell))
		defer alarm.Close()
		a.p.Subscribe(alarm)
		cmds = append(cmds, spawn(t, fmt.Sprintf("broadcast-listener %d", last), a.m.FD(), alarm.FD(), bell.FD()))
	}
	if err := a.speak(last); err != nil {
		t.Error(err)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}
