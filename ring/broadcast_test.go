package ring

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// air is a broadcast ring with its publisher; subscribers map it read-only.
type air struct {
	t    testing.TB
	m    *Memory
	p    *Publisher
	sent uint32
}

func newAir(t testing.TB, size int) *air {
	t.Helper()
	a := &air{t: t, m: newMemory(t, Options{Kind: Broadcast, Size: size, Name: "air"})}
	p, err := NewPublisher(a.m)
	if err != nil {
		t.Fatal(err)
	}
	a.p = p
	return a
}

func (a *air) subscriber(from Start) *Subscriber {
	a.t.Helper()
	s, err := NewSubscriber(attachAgain(a.t, a.m), from, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

// commit claims and commits n records of size bytes without flushing.
func (a *air) commit(n, size int) {
	a.t.Helper()
	vs := make([]wire.Vesicle, n)
	for n > 0 {
		got, err := a.p.Claim(vs[:n], size)
		if err != nil || got == 0 {
			a.t.Fatalf("Claim of %d × %d bytes = %d, %v", n, size, got, err)
		}
		issue(vs[:got], label{0, a.sent})
		if err := a.p.Commit(vs[:got]); err != nil {
			a.t.Fatal(err)
		}
		a.sent += uint32(got)
		n -= got
	}
}

func (a *air) publish(n, size int) {
	a.t.Helper()
	a.commit(n, size)
	if err := a.p.Flush(); err != nil {
		a.t.Fatal(err)
	}
}

// hears polls want records in order, from the number first on.
func hears(t testing.TB, s *Subscriber, first, want int) {
	t.Helper()
	in := make([]wire.Vesicle, 5)
	for want > 0 {
		n, err := s.Poll(in)
		if n == 0 || err != nil {
			t.Fatalf("Poll = %d, %v with %d to come", n, err, want)
		}
		for _, v := range in[:n] {
			if l, err := labelOf(v); err != nil || l.number != uint32(first) {
				t.Fatalf("record %v (%v), want %d", l, err, first)
			}
			first++
		}
		want -= n
		if intact, err := s.Release(n); !intact || err != nil {
			t.Fatal("Release:", intact, err)
		}
	}
	if want < 0 || s.Sequence() != uint64(first) {
		t.Fatalf("%d records too many, sequence %d, want %d", -want, s.Sequence(), first)
	}
}

// silent wants nothing new.
func silent(t testing.TB, s *Subscriber) {
	t.Helper()
	if n, err := s.Poll(make([]wire.Vesicle, 3)); n != 0 || err != nil {
		t.Fatalf("Poll = %d, %v; want nothing", n, err)
	}
	if _, err := s.Receive(make([]byte, 1)); !errors.Is(err, ErrEmpty) {
		t.Fatal("Receive:", err)
	}
}

func TestBroadcastReachesEverybody(t *testing.T) {
	a := newAir(t, MinSize)
	early, late := a.subscriber(Newest), a.subscriber(Oldest)
	silent(t, early)
	a.publish(3, 100)
	middle := a.subscriber(Newest)
	silent(t, middle)
	a.commit(2, 10)
	hears(t, early, 0, 3)
	silent(t, early) // nothing before Flush
	a.publish(1, 0)
	hears(t, early, 3, 3)
	hears(t, middle, 3, 3)
	hears(t, late, 0, 6)
	hears(t, a.subscriber(Oldest), 0, 6)
	for _, s := range []*Subscriber{early, middle, late} {
		silent(t, s)
		if s.Lost() != 0 {
			t.Error("lost", s.Lost())
		}
	}
}

func TestBroadcastEveryLengthAtEveryOffset(t *testing.T) {
	a := newAir(t, MinSize)
	polls, receives := a.subscriber(Newest), a.subscriber(Newest)
	buf := make([]byte, a.p.MaxPayload())
	for i := range 64 {
		for size := i % 8; size <= a.p.MaxPayload(); size += 8 {
			a.publish(1, size)
			hears(t, polls, int(a.sent)-1, 1)
			v, err := receives.Receive(buf)
			if err != nil || len(v.Payload) != size {
				t.Fatal(len(v.Payload), err)
			}
			if l, err := labelOf(v); err != nil || l.number != a.sent-1 {
				t.Fatal(l, err)
			}
		}
		a.publish(1, 0)
		hears(t, polls, int(a.sent)-1, 1)
		_, _ = receives.Receive(buf)
	}
}

func TestBroadcastLapped(t *testing.T) {
	for _, v := range []struct {
		name         string
		before, over int // records read, records published since
		batch, size  int
		from         Start
	}{
		{"by one lap", 0, MinSize / line, 1, 20, Newest},
		{"by many laps", 3, 5000, 1, 20, Newest},
		{"in batches", 3, 5000, 7, 20, Newest},
		{"by large records", 1, 100, 1, 480, Oldest},
		{"one reader from the oldest", 9, 640, 4, 100, Oldest},
	} {
		t.Run(v.name, func(t *testing.T) {
			a := newAir(t, MinSize)
			s := a.subscriber(v.from)
			a.publish(v.before, v.size)
			hears(t, s, 0, v.before)
			for n := v.over; n > 0; n -= v.batch {
				a.publish(min(n, v.batch), v.size)
			}
			n, err := s.Poll(make([]wire.Vesicle, 4))
			if n != 0 || !errors.Is(err, ErrLapped) {
				t.Fatalf("Poll = %d, %v", n, err)
			}
			if got := uint64(v.before) + s.Lost(); got != s.Sequence() || s.Lost() == 0 {
				t.Fatalf("read %d, lost %d, go on at %d", v.before, s.Lost(), s.Sequence())
			}
			last := v.over % v.batch
			if last == 0 {
				last = v.batch
			}
			hears(t, s, v.before+v.over-last, last) // the newest batch
			silent(t, s)
			if int(s.Lost()) != v.over-last {
				t.Errorf("lost %d, want %d", s.Lost(), v.over-last)
			}
			old := a.subscriber(Oldest)
			hears(t, old, int(old.Sequence()), int(a.sent)-int(old.Sequence()))
			if old.Sequence()-uint64(a.sent) > 0 || old.Lost() != 0 {
				t.Error("oldest:", old.Sequence(), old.Lost())
			}
		})
	}
}

func TestBroadcastOldestIsOld(t *testing.T) {
	a := newAir(t, 64<<10)
	for range 10_000 {
		a.publish(1, 30)
	}
	s := a.subscriber(Oldest)
	if have := int(a.sent) - int(s.Sequence()); have < 64<<10/line*7/8 {
		t.Errorf("only %d of %d records", have, 64<<10/line)
	}
	hears(t, s, int(s.Sequence()), int(a.sent)-int(s.Sequence()))
}

// What was polled in place and overwritten since is reported.
func TestBroadcastOverwrittenAfterPoll(t *testing.T) {
	a := newAir(t, MinSize)
	s := a.subscriber(Newest)
	a.publish(10, 20)
	in := make([]wire.Vesicle, 4)
	if n, err := s.Poll(in); n != 4 || err != nil || !s.Valid() {
		t.Fatal(n, err)
	}
	if intact, err := s.Release(2); !intact || err != nil {
		t.Fatal(intact, err)
	}
	a.publish(MinSize/line-MinSize/aheadPart/line-10, 20) // up to the last line that is not endangered
	if !s.Valid() {
		t.Fatal("no longer valid though nothing can be overwritten yet")
	}
	a.publish(4, 20)
	if s.Valid() {
		t.Fatal("valid though overwritten")
	}
	if intact, err := s.Release(2); intact || err != nil || s.Lost() != 2 {
		t.Fatal(intact, err, s.Lost())
	}
	if !s.Valid() {
		t.Fatal("nothing is outstanding")
	}
	if _, err := s.Release(1); !errors.Is(err, ErrOrder) {
		t.Error("release of nothing:", err)
	}
	if _, err := s.Release(-1); !errors.Is(err, ErrOrder) {
		t.Error("release of less:", err)
	}
}

func TestBroadcastReceiveIntoAShortBuffer(t *testing.T) {
	a := newAir(t, MinSize)
	s := a.subscriber(Newest)
	a.publish(1, 100)
	v, err := s.Receive(make([]byte, 99))
	if !errors.Is(err, ErrTooLarge) || v.Header.Length != 100 || v.Payload != nil {
		t.Fatal(v, err)
	}
	if v, err = s.Receive(make([]byte, v.Header.Length)); err != nil {
		t.Fatal(err)
	}
	if l, err := labelOf(v); err != nil || l.number != 0 {
		t.Fatal(l, err)
	}
}

// A publisher waits for nobody; only claims of its own can stand in its way.
func TestBroadcastClaimIsFullOfItself(t *testing.T) {
	a := newAir(t, MinSize)
	s := a.subscriber(Newest)
	vs := make([]wire.Vesicle, 64)
	n, err := a.p.Claim(vs, 20)
	if n != MinSize/unpublishedPart/line || err != nil {
		t.Fatal(n, err)
	}
	if _, err := a.p.Claim(vs[n:], 20); !errors.Is(err, ErrFull) || a.p.Stats().Full != 1 {
		t.Fatal(err)
	}
	issue(vs[:n], label{0, 0})
	if err := a.p.Commit(vs[:n]); err != nil {
		t.Fatal(err)
	}
	a.sent += uint32(n)
	silent(t, s)
	a.commit(1, 20) // publishes what was committed before
	hears(t, s, 0, n)
	silent(t, s)
	a.p.Abort()
	a.publish(1, 20)
	hears(t, s, n, 2)
}

func TestBroadcastAbortAndShorten(t *testing.T) {
	a := newAir(t, 4*MinSize)
	s := a.subscriber(Newest)
	vs := make([]wire.Vesicle, 2)
	for i := range 200 {
		if n, err := a.p.Claim(vs, 480-i); n != 2 || err != nil {
			t.Fatal(i, n, err)
		}
		if i%3 == 0 {
			a.p.Abort()
			continue
		}
		for j := range vs {
			vs[j].Payload = vs[j].Payload[:i%64]
		}
		issue(vs, label{0, a.sent})
		before := a.p.claim
		if err := a.p.Commit(vs); err != nil {
			t.Fatal(err)
		}
		if before-a.p.claim < 128 {
			t.Fatal("the newest claim gave nothing back")
		}
		a.sent += 2
		a.publish(1, 3)
		hears(t, s, int(a.sent)-3, 3)
	}
}

func TestBroadcastMisuse(t *testing.T) {
	a := newAir(t, MinSize)
	s := a.subscriber(Newest)
	vs := make([]wire.Vesicle, 3)
	for _, size := range []int{-1, a.p.MaxPayload() + 1} {
		if _, err := a.p.Claim(vs, size); !errors.Is(err, ErrTooLarge) {
			t.Error(size, err)
		}
	}
	if err := a.p.Commit(vs); !errors.Is(err, ErrOrder) {
		t.Error("commit of nothing:", err)
	}
	_, _ = a.p.Claim(vs, 64)
	issue(vs, label{0, 0})
	vs[1], vs[2] = vs[2], vs[1]
	if err := a.p.Commit(vs); !errors.Is(err, ErrOrder) {
		t.Error("commit out of order:", err)
	}
	vs[1], vs[2] = vs[2], vs[1]
	if err := errors.Join(a.p.Commit(vs[1:]), a.p.Flush()); err != nil {
		t.Error("commit of the rest:", err)
	}
	hears(t, s, 0, 3)
	a.p.Stop()
	if _, err := a.p.Claim(vs, 1); !errors.Is(err, ErrClosed) {
		t.Error("claim after Stop:", err)
	}
	if err := a.p.Flush(); !errors.Is(err, ErrClosed) {
		t.Error("flush after Stop:", err)
	}
}

func TestBroadcastSubscriberStop(t *testing.T) {
	a := newAir(t, MinSize)
	s, gone := a.subscriber(Newest), a.subscriber(Newest)
	a.publish(1, 1)
	s.Stop(false)
	if _, err := s.Poll(make([]wire.Vesicle, 1)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Receive(nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	gone.Stop(true)
	hears(t, gone, 0, 1)
	if _, err := gone.Poll(make([]wire.Vesicle, 1)); !errors.Is(err, ErrPeerGone) {
		t.Error(err)
	}
	if _, err := gone.Receive(nil); !errors.Is(err, ErrPeerGone) {
		t.Error(err)
	}
}

func TestBroadcastPolledRecordsAreBounded(t *testing.T) {
	a := newAir(t, 256<<10)
	s := a.subscriber(Newest)
	a.publish(maxPolled+1, 0)
	in := make([]wire.Vesicle, maxPolled+5)
	if n, err := s.Poll(in); n != maxPolled || err != nil {
		t.Fatal(n, err)
	}
	if n, err := s.Poll(in); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	_, _ = s.Release(1)
	if n, err := s.Poll(in); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

// Subscribers can't write, not even if they try to map the memory again.
func TestBroadcastIsReadOnlyToOthers(t *testing.T) {
	a := newAir(t, MinSize)
	far := attachAgain(t, a.m)
	if _, err := NewPublisher(far); !errors.Is(err, ErrInUse) {
		t.Error("publisher on attached memory:", err)
	}
	if _, err := NewPublisher(a.m); !errors.Is(err, ErrInUse) {
		t.Error("second publisher:", err)
	}
	if b, err := unix.Mmap(far.FD(), 0, controlSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		_ = unix.Munmap(b)
		if !emulated() {
			t.Error("mapped writable")
		}
	}
	if _, err := unix.Pwrite(far.FD(), []byte{1}, offIntent); err == nil {
		t.Error("written to the descriptor")
	}
	if err := unix.Mprotect(far.mapping[:controlSize], unix.PROT_READ|unix.PROT_WRITE); err == nil {
		t.Error("made the mapping writable")
	}
}

func TestBroadcastRolesOfTheWrongMemory(t *testing.T) {
	spsc := newMemory(t, Options{Size: MinSize})
	if _, err := NewPublisher(spsc); !errors.Is(err, ErrKind) {
		t.Error(err)
	}
	if _, err := NewSubscriber(spsc, Newest, nil); !errors.Is(err, ErrKind) {
		t.Error(err)
	}
	m, err := Create(Options{Kind: Broadcast, Size: MinSize})
	if err != nil {
		t.Fatal(err)
	}
	if m.MaxPayload() != MinSize/8-32 {
		t.Error("MaxPayload:", m.MaxPayload())
	}
	closed(t, m.Close())
	if _, err := NewSubscriber(m, Newest, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// alarmed adds a subscriber that can sleep, with the publisher's own view of
// its alarm.
func (a *air) alarmed() (s *Subscriber, near *Alarm, bell *Doorbell) {
	a.t.Helper()
	bell = newBell(a.t)
	own, err := NewAlarm(bell)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { closed(a.t, own.Close()) })
	if near, err = AttachAlarm(duplicate(a.t, own.FD()), bell); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { closed(a.t, near.Close()) })
	if s, err = NewSubscriber(attachAgain(a.t, a.m), Newest, own); err != nil {
		a.t.Fatal(err)
	}
	return s, near, bell
}

func TestBroadcastWakesSleepers(t *testing.T) {
	a := newAir(t, MinSize)
	s, alarm, bell := a.alarmed()
	other, otherAlarm, otherBell := a.alarmed()
	a.p.Subscribe(alarm)
	a.p.Subscribe(otherAlarm)
	a.publish(1, 1)
	if bellRings(t, bell) || bellRings(t, otherBell) {
		t.Fatal("rung though nobody sleeps")
	}
	if s.Arm() {
		t.Fatal("armed though there is something")
	}
	hears(t, s, 0, 1)
	hears(t, other, 0, 1)
	if !s.Arm() {
		t.Fatal("not armed")
	}
	a.publish(2, 1)
	if !bellRings(t, bell) || bellRings(t, otherBell) {
		t.Fatal("who sleeps was not woken, or who does not was")
	}
	a.publish(1, 1)
	if a.p.Stats().Wakes != 1 {
		t.Error("woken twice")
	}
	s.Disarm()
	if bellRings(t, bell) {
		t.Error("still rings")
	}
	hears(t, s, 1, 3)
	if !s.Arm() {
		t.Fatal("not armed")
	}
	a.p.Unsubscribe(alarm)
	a.publish(1, 1)
	if bellRings(t, bell) || a.p.Stats().Wakes != 1 {
		t.Error("woken though not subscribed, or the count was lost")
	}
	a.p.Subscribe(alarm)
	if !bellRings(t, bell) {
		t.Error("who slept before it was subscribed sleeps on")
	}
	s.Disarm()
	other.Stop(true)
	if !bellRings(t, otherBell) {
		t.Error("Stop wakes nobody")
	}
	other.Disarm()
}

func TestAlarmRefusesWhatASubscriberPrepared(t *testing.T) {
	make := func(size int64, seal int, head string) int {
		fd, err := unix.MemfdCreate("cell-forged", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Ftruncate(fd, size)
		_, _ = unix.Pwrite(fd, []byte(head), 0)
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seal)
		return fd
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name string
		fd   int
		want error
	}{
		{"no memory at all", null, ErrSeals},
		{"not sealed", make(controlSize, 0, "CLCALRM1"), ErrSeals},
		{"may shrink", make(controlSize, unix.F_SEAL_GROW|unix.F_SEAL_SEAL, "CLCALRM1"), ErrSeals},
		{"may not be written", make(controlSize, seals|unix.F_SEAL_WRITE, "CLCALRM1"), ErrSeals},
		{"too short", make(controlSize-1, seals, "CLCALRM1"), ErrFormat},
		{"a ring", make(controlSize, seals, "CLCRING1"), ErrFormat},
	} {
		t.Run(v.name, func(t *testing.T) {
			if _, err := AttachAlarm(v.fd, nil); !errors.Is(err, v.want) {
				t.Errorf("got %v, want %v", err, v.want)
			}
		})
	}
}

func TestBroadcastNoAllocations(t *testing.T) {
	a := newAir(t, MinSize)
	s, alarm, _ := a.alarmed()
	a.p.Subscribe(alarm)
	vs, in, buf := make([]wire.Vesicle, 8), make([]wire.Vesicle, 8), make([]byte, 100)
	send := func() {
		n, _ := a.p.Claim(vs, 50)
		for i := range vs[:n] {
			vs[i].Header = wire.Header{Kind: wire.KindEvent}
		}
		if a.p.Commit(vs[:n]) != nil || a.p.Flush() != nil {
			t.Fatal("not sent")
		}
	}
	if send(); fmt.Sprintf("%p", vs[0].Payload) != fmt.Sprintf("%p", a.m.data.payload(8, 1)) {
		t.Skip("guards allocate")
	}
	s.next, s.limit, s.seq = a.p.flushed, a.p.flushed, a.p.seq
	for name, run := range map[string]func(){
		"claim, commit, flush, poll, release": func() {
			send()
			n, err := s.Poll(in)
			if intact, err2 := s.Release(n); n != 8 || err != nil || err2 != nil || !intact {
				t.Fatal(n, err, err2, intact)
			}
		},
		"receive": func() {
			send()
			for range 8 {
				if _, err := s.Receive(buf); err != nil {
					t.Fatal(err)
				}
			}
		},
		"lapped": func() {
			for range 10 {
				send()
			}
			for {
				if _, err := s.Receive(buf); err == ErrEmpty {
					return
				}
			}
		},
		"sleep": func() {
			if !s.Arm() {
				t.Fatal("no sleep")
			}
			s.Disarm()
		},
	} {
		if n := testing.AllocsPerRun(200, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
