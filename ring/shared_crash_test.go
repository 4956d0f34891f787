package ring

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// victimScript is the life of a producer that is stopped at every single step:
// a batch that may wrap, a commit of some, of the rest, claims that merge with
// the newest run, an abort.
func victimScript(p *SharedProducer, sender uint32) error {
	vs := make([]wire.Vesicle, 6)
	n, err := p.Claim(vs[:3], 300)
	if err != nil || n != 3 {
		return fmt.Errorf("claim of three: %d, %w", n, err)
	}
	issue(vs[:3], label{sender, 0})
	if err := p.Commit(vs[:2]); err != nil {
		return err
	}
	if _, err := p.Claim(vs[3:4], 300); err != nil { // may continue the run
		return err
	}
	issue(vs[3:4], label{sender, 3})
	if err := p.Commit(vs[2:4]); err != nil {
		return err
	}
	if n, err := p.Claim(vs[4:6], 20); err != nil || n != 2 {
		return fmt.Errorf("claim of two: %d, %w", n, err)
	}
	issue(vs[4:6], label{sender, 4})
	if err := p.Commit(vs[4:5]); err != nil {
		return err
	}
	p.Abort()
	return p.Flush()
}

// victimRecords is how many records a victim commits that nobody stops.
const victimRecords = 5

// countdown returns a trap that calls f at the n-th step from now.
func countdown(n int, f func(step)) func(step) {
	return func(s step) {
		if n == 0 {
			f(s)
		}
		n--
	}
}

type crash struct{ at step }

// abandon runs f until the trap springs, and leaves everything as it is then.
func abandon(p *SharedProducer, after int, f func() error) (at step, crashed bool, err error) {
	defer func() {
		if c, ok := recover().(crash); ok {
			at, crashed, err = c.at, true, nil
		}
	}()
	p.trap = countdown(after, func(s step) { panic(crash{s}) })
	err = f()
	return
}

const victimPID = 1 << 21

func victimDead(pid uint32) bool { return pid == victimPID }

// prefixOf checks that ls is the bystander's records from first on, all of
// them, mixed with a prefix of the victim's, and returns the prefix's length.
func prefixOf(t *testing.T, ls []label, victim, bystander, first, count uint32) uint32 {
	t.Helper()
	next, others := uint32(0), first
	for _, l := range ls {
		switch {
		case l.sender == victim && l.number == next:
			next++
		case l.sender == bystander && l.number == others:
			others++
		default:
			t.Fatalf("received %v, out of order or twice, in %v", l, ls)
		}
	}
	if others != first+count {
		t.Fatalf("a live producer's records were lost: have %d of %d: %v", others-first, count, ls)
	}
	return next
}

// rescue takes what lies behind the claims of the dead, of which there may be
// several, with others' records or padding in between.
func (f *fan) rescue(dead func(uint32) bool) (ls []label) {
	f.t.Helper()
	for range 4 {
		f.c.Recover(dead)
		ls = append(ls, f.take()...)
	}
	return ls
}

// afterwards makes sure that a ring is as good as new after a death: laps
// around it arrive, nothing is left in it, the victim's slot is free.
func (f *fan) afterwards(p *SharedProducer, sender uint32) {
	f.t.Helper()
	for i := range uint32(3 * MinSize / line) {
		size := int(i*37) % 900
		send(f.t, p, label{sender, i}, 1, size)
		f.wants(label{sender, i})
	}
	f.settled()
	f.c.Recover(victimDead)
	if free := f.freeSlots(); free != slotCount-1 {
		f.t.Fatalf("%d slots are free, want all but the survivor's", free)
	}
}

// Every step of every crash, at every offset in the ring, with a survivor's
// record behind it.
func TestSharedCrashAtEveryStep(t *testing.T) {
	seen := map[step]int{}
	stride := 1
	if brief() {
		stride = 9
	}
	for lines := 0; lines < MinSize/line; lines += stride {
		for after := 0; ; after++ {
			f := newFan(t, MinSize)
			p := f.producer(0)
			for range lines {
				send(t, p, label{9, 9}, 1, 0)
				f.wants(label{9, 9})
			}
			victim := f.producer(processID(victimPID, 1))
			at, crashed, err := abandon(victim, after, func() error { return victimScript(victim, 1) })
			if err != nil {
				t.Fatal(err)
			}
			seen[at]++
			send(t, p, label{2, 0}, 3, 100)
			got := f.take()
			if alive := f.c.Recover(func(uint32) bool { return false }); alive != 0 {
				t.Fatal("a live producer was passed over")
			}
			got = append(got, f.rescue(victimDead)...)
			n := prefixOf(t, got, 1, 2, 0, 3)
			if !crashed && n != victimRecords {
				t.Fatalf("%d of the victim's records arrived, want %d", n, victimRecords)
			}
			if f.c.Stuck() {
				t.Fatalf("stuck after a crash at step %d (%d-th)", at, after)
			}
			f.afterwards(p, 3)
			if !crashed {
				break
			}
		}
	}
	for s := range stepCount {
		if seen[s] == 0 {
			t.Errorf("no crash at step %d", s)
		}
	}
}

// Two producers announce the same place; one takes it and dies unmarked, the
// other lives and has not noticed yet. Nobody can tell them apart until it does.
func TestSharedLiveRivalDelaysRecovery(t *testing.T) {
	for name, size := range map[string]int{"with a shorter claim": 10, "with a longer claim": 900, "with the same": 300} {
		t.Run(name, func(t *testing.T) {
			f := newFan(t, MinSize)
			rival := f.producer(0)
			victim := f.producer(processID(victimPID, 1))
			rival.trap = countdown(1, func(s step) { // announced, not taken
				if s != stepAnnounced {
					t.Fatal("at step", s)
				}
				_, crashed, _ := abandon(victim, 2, func() error { // taken, not marked
					_, err := victim.Claim(make([]wire.Vesicle, 2), 300)
					return err
				})
				if !crashed || !f.c.Stuck() {
					t.Fatal("the victim did not take the place")
				}
				for range 3 {
					if n := f.c.Recover(victimDead); n != 0 || !f.c.Stuck() {
						t.Fatal("passed over what may be a live producer's claim")
					}
				}
			})
			send(t, rival, label{2, 0}, 1, size)
			if n := f.c.Recover(victimDead); n != 1 {
				t.Fatalf("passed over %d claims, want 1", n)
			}
			f.wants(label{2, 0})
			f.afterwards(rival, 3)
		})
	}
}

// A live producer that has taken the place behind a dead one's, and not marked
// it yet, must keep it.
func TestSharedLiveNeighbourKeepsItsClaim(t *testing.T) {
	f := newFan(t, MinSize)
	neighbour := f.producer(0)
	victim := f.producer(processID(victimPID, 1))
	if _, crashed, _ := abandon(victim, 2, func() error {
		_, err := victim.Claim(make([]wire.Vesicle, 3), 300)
		return err
	}); !crashed {
		t.Fatal("no crash")
	}
	neighbour.trap = countdown(2, func(s step) { // taken, not marked
		if n := f.c.Recover(victimDead); s != stepTaken || n != 1 {
			t.Fatalf("at step %d: passed over %d claims, want 1", s, n)
		}
		if n := f.c.Recover(victimDead); n != 0 || !f.c.Stuck() {
			t.Fatal("passed over a live producer's claim")
		}
	})
	send(t, neighbour, label{2, 0}, 3, 300)
	f.wants(label{2, 0}, label{2, 1}, label{2, 2})
	f.afterwards(neighbour, 3)
}

// The rival wins and the victim dies as the loser.
func TestSharedDeadLoser(t *testing.T) {
	f := newFan(t, MinSize)
	winner := f.producer(0)
	victim := f.producer(processID(victimPID, 1))
	vs := make([]wire.Vesicle, 2)
	n := 0
	victim.trap = func(s step) {
		if n++; n == 2 { // announced
			if _, err := winner.Claim(vs, 10); err != nil {
				t.Fatal(err)
			}
		}
		if n == 3 { // the second announcement
			panic(crash{s})
		}
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = victim.Claim(make([]wire.Vesicle, 1), 900)
		t.Fatal("no crash")
	}()
	if n := f.c.Recover(victimDead); n != 0 {
		t.Fatal("passed over the winner's claim")
	}
	issue(vs, label{2, 0})
	if err := winner.Commit(vs); err != nil {
		t.Fatal(err)
	}
	f.wants(label{2, 0}, label{2, 1})
	f.afterwards(winner, 3)
}

// A claimant that finds the ring full after it lost a race must not seem to
// cover the place for ever.
func TestSharedFullAfterALostRace(t *testing.T) {
	f := newFan(t, MinSize)
	loser, winner := f.producer(0), f.producer(processID(victimPID, 1))
	loser.trap = countdown(1, func(step) {
		_, crashed, _ := abandon(winner, 2, func() error {
			_, err := winner.Claim(make([]wire.Vesicle, 63), 0)
			return err
		})
		if !crashed {
			t.Error("no crash")
		}
	})
	if _, err := loser.Claim(make([]wire.Vesicle, 1), 0); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if n := f.c.Recover(victimDead); n != 1 {
		t.Fatalf("passed over %d claims, want 1", n)
	}
	f.afterwards(loser, 3)
}

// Several dead producers at once, at all pairs of steps.
func TestSharedTwoCrashes(t *testing.T) {
	const steps = 24 // at least as many as the script has
	stride := 1
	if brief() {
		stride = 5
	}
	for first := range steps {
		for second := first % stride; second < steps; second += stride {
			f := newFan(t, MinSize)
			p := f.producer(0)
			a, b := f.producer(processID(victimPID, 1)), f.producer(processID(victimPID, 2))
			_, _, err := abandon(a, first, func() error { return victimScript(a, 1) })
			_, _, err2 := abandon(b, second, func() error { return victimScript(b, 4) })
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			var got []label
			send(t, p, label{2, 0}, 2, 100)
			got = append(got, f.rescue(victimDead)...)
			var as, bs []label
			for _, l := range got {
				if l.sender != 4 {
					as = append(as, l)
				}
				if l.sender != 1 {
					bs = append(bs, l)
				}
			}
			prefixOf(t, as, 1, 2, 0, 2)
			prefixOf(t, bs, 4, 2, 0, 2)
			f.afterwards(p, 3)
		}
	}
}

// A slot must not be freed while something of its owner lies ahead.
func TestSharedSlotOutlivesItsClaims(t *testing.T) {
	f := newFan(t, MinSize)
	p := f.producer(0)
	victim := f.producer(processID(victimPID, 1))
	live := make([]wire.Vesicle, 1)
	_, _ = p.Claim(live, 10) // the consumer stops here
	_, _ = victim.Claim(make([]wire.Vesicle, 1), 10)
	if f.c.Recover(victimDead); f.freeSlots() != slotCount-2 {
		t.Fatal("the slot was freed though its claim is still ahead")
	}
	if !f.c.Stuck() {
		t.Fatal("not stuck")
	}
	issue(live, label{2, 0})
	if err := p.Commit(live); err != nil {
		t.Fatal(err)
	}
	f.wants(label{2, 0})
	if n := f.c.Recover(victimDead); n != 1 || f.freeSlots() != slotCount-1 {
		t.Fatalf("passed over %d, %d slots free", n, f.freeSlots())
	}
	f.afterwards(p, 3)
}

func init() {
	children["mpsc-victim"] = func(args []string) {
		after := must(strconv.Atoi(args[0]))
		p := must(NewSharedProducer(must(Attach(3, MPSC)), nil))
		p.trap = countdown(after, func(step) { _ = unix.Kill(os.Getpid(), unix.SIGKILL); select {} })
		if err := victimScript(p, 1); err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			os.Exit(1)
		}
	}
	children["mpsc-sender"] = childSender
}

// Real processes that kill themselves at every step. The consumer recovers by
// itself, from a zombie and from one of which nothing is left.
func TestSharedKilledAtEveryStep(t *testing.T) {
	skipEmulated(t, "starts processes")
	for after := 0; ; after++ {
		f := newFan(t, MinSize)
		p := f.producer(0)
		for range MinSize/line - 7 { // the script wraps, with padding
			send(t, p, label{9, 9}, 1, 0)
			f.wants(label{9, 9})
		}
		cmd := spawn(t, "mpsc-victim "+strconv.Itoa(after), f.m.FD())
		if after%2 == 0 {
			_ = cmd.Wait()
		} else {
			awaitZombie(t, cmd.Process.Pid)
		}
		send(t, p, label{2, 0}, 3, 100)
		got := f.take()
		got = append(got, f.rescue(nil)...)
		if after%2 != 0 {
			_ = cmd.Wait()
		}
		killed := !cmd.ProcessState.Exited()
		if n := prefixOf(t, got, 1, 2, 0, 3); !killed && (n != victimRecords || !cmd.ProcessState.Success()) {
			t.Fatalf("the whole script: %d records, %v", n, cmd.ProcessState)
		}
		f.c.Recover(nil)
		f.afterwards(p, 3)
		if !killed {
			if after < int(stepCount) {
				t.Errorf("only %d steps", after)
			}
			return
		}
	}
}

func awaitZombie(t *testing.T, pid int) {
	t.Helper()
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
}

// childSender sends batches of all lengths, one sender's numbers in order,
// until it is killed.
func childSender(args []string) {
	sender := uint32(must(strconv.Atoi(args[0])))
	p := must(NewSharedProducer(must(Attach(3, MPSC)), nil))
	vs := make([]wire.Vesicle, 8)
	seed, parent := sender*2654435761, os.Getppid()
	for number := uint32(0); os.Getppid() == parent; {
		seed = seed*1664525 + 1013904223
		size, n := int(seed>>8)%600, 1+int(seed>>24)%len(vs)
		n, err := p.Claim(vs[:n], size)
		if err != nil {
			time.Sleep(50 * time.Microsecond)
			continue
		}
		issue(vs[:n], label{sender, number})
		part := n
		if seed&32 != 0 {
			part = n / 2
		}
		if p.Commit(vs[:part]) != nil || p.Commit(vs[part:n]) != nil || p.Flush() != nil {
			os.Exit(1)
		}
		number += uint32(n)
	}
}

// Senders are killed at random moments while others go on.
func TestSharedRandomKills(t *testing.T) {
	skipEmulated(t, "starts processes")
	kills := 60
	if testing.Short() {
		kills = 10
	}
	if os.Getenv("CELL_SOAK") != "" {
		kills = 3000
	}
	f := newFan(t, 16<<10)
	next := map[uint32]uint32{}
	drain := func(until time.Time) {
		for time.Now().Before(until) {
			for _, l := range f.take() {
				if next[l.sender] != l.number {
					t.Fatalf("sender %d: record %d, want %d", l.sender, l.number, next[l.sender])
				}
				next[l.sender]++
			}
			if f.c.Stuck() {
				f.c.Recover(nil)
			}
			time.Sleep(20 * time.Microsecond)
		}
	}
	live := []*exec.Cmd{}
	start := func(i int) { live = append(live, spawn(t, fmt.Sprintf("mpsc-sender %d", i+1), f.m.FD())) }
	start(0)
	start(1)
	total := uint32(0)
	for i := range kills {
		start(i + 2)
		// The oldest is sender i+1. A process may take long to start.
		for end := time.Now().Add(standstill); next[uint32(i+1)] == 0 && time.Now().Before(end); {
			drain(time.Now().Add(time.Millisecond))
		}
		drain(time.Now().Add(time.Duration(10+i*7%13) * time.Millisecond))
		_ = live[0].Process.Kill()
		_ = live[0].Wait()
		live = live[1:]
		f.c.Recover(nil) // frees the slot, now or at a later call
	}
	for _, cmd := range live {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	drain(time.Now().Add(5 * time.Millisecond))
	f.c.Recover(nil)
	f.take()
	f.c.Recover(nil)
	for _, n := range next {
		total += n
	}
	t.Logf("%d records of %d senders", total, len(next))
	if len(next) < kills/2 {
		t.Error("most senders sent nothing")
	}
	if free := f.freeSlots(); free != slotCount || f.c.Stuck() || total == 0 {
		t.Fatalf("%d slots are free, stuck: %v, %d records", free, f.c.Stuck(), total)
	}
	f.settled()
}
