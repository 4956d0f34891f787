package linktest

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// wakes asserts that a descriptor of l fires.
func (s *suite) wakes(l link.Link, why string) {
	s.Helper()
	ready, err := await(l, s.h.Timeout)
	s.must(err)
	if !ready {
		s.Fatalf("%s, and no descriptor of WaitFDs fires within %v", why, s.h.Timeout)
	}
}

// quiet asserts that the descriptors of l stop firing.
func (s *suite) quiet(l link.Link, why string) {
	s.Helper()
	s.eventually("poll(2) "+why, nil, func() error {
		ready, err := await(l, 0)
		if ready {
			return errors.New("a descriptor that fires, so that nobody can sleep")
		}
		return err
	})
}

// refusesSleep asserts that Arm says of a vesicle that woke the receiver that it
// is there. Where wake-ups may be spurious, the vesicle may be yet to come:
// then it wakes the receiver again.
func (s *suite) refusesSleep(l link.Link) {
	s.Helper()
	p := s.patience("the receiver is woken again and again, and no vesicle comes")
	for l.Arm() {
		if !s.h.Spurious {
			s.Fatal("Arm lets a receiver sleep while a vesicle is there")
		}
		s.must(p.idle())
		s.wakes(l, "a vesicle is under way")
		l.Disarm()
	}
}

func caseArm(s *suite) {
	a, b := s.open()
	st := stream{size: constant(small(a, 50))}
	b.Disarm() // unarmed: harmless
	for first := range 20 {
		if !b.Arm() {
			s.Fatal("Arm returns false though nothing is there")
		}
		if first%3 == 0 {
			b.Disarm()
			b.Disarm()
			if !b.Arm() {
				s.Fatal("Arm after Disarm returns false though nothing is there")
			}
		}
		if s.h.Lossy {
			b.Disarm()
			s.transfer(a, b, stream{count: 2, batch: 1, size: st.size})
		} else {
			s.send(a, &st, first, 1)
			s.wakes(b, "armed, then a vesicle came")
			s.wakes(b, "level-triggered: not disarmed yet") // again
			b.Disarm()
			s.refusesSleep(b)
			b.Disarm()
			s.expect(b, &st, first, 1)
		}
		s.must(b.CheckPeer())
		s.quiet(b, "after Disarm and CheckPeer, with everything polled")
	}
}

func caseArmSpace(s *suite) {
	a, b := s.open()
	size := small(a, 200)
	st := stream{size: constant(size)}
	a.DisarmSpace() // unarmed: harmless
	if a.ArmSpace(size) {
		s.Fatal("ArmSpace lets a sender sleep though the link is empty")
	}
	a.DisarmSpace()
	for range 5 {
		n := s.stuff(a, &st)
		s.eventually("ArmSpace on a full link", nil, func() error {
			if a.ArmSpace(size) {
				return nil
			}
			a.DisarmSpace()
			n = s.stuffFrom(a, &st, n) // the medium has taken some since
			return errors.New("false")
		})
		// Everything is taken; what the sender's buffer holds follows when it
		// has been woken.
		got, armed := 0, true
		p := s.patience("everything is released, or on its way, and does not arrive")
		for got < n {
			k := s.takeSome(b, &st, got, n)
			if got += k; k > 0 {
				p.progress()
				continue
			}
			if armed {
				s.wakes(a, fmt.Sprintf("armed for space, then %d of %d vesicles were released", got, n))
			}
			s.must(p.idle())
			a.DisarmSpace()
			if err := a.Flush(); err != nil && !errors.Is(err, link.ErrFull) {
				s.Fatalf("Flush: %v", err)
			}
			// Where there is room, the rest is on its way, and nobody wakes.
			if armed = got < n && a.ArmSpace(size); !armed {
				a.DisarmSpace()
			}
		}
		a.DisarmSpace()
		s.flush(a)
		s.eventually("Claim after everything was released", nil, func() error {
			_, err := a.Claim(make([]wire.Vesicle, 1), size)
			return err
		})
		a.Abort()
		if a.ArmSpace(size) {
			s.Fatal("ArmSpace lets a sender sleep though the link is empty")
		}
		a.DisarmSpace()
		s.must(a.CheckPeer())
		s.quiet(a, "after DisarmSpace, with nothing to wait for")
	}
}

// takeSome polls and releases what comes within a moment.
func (s *suite) takeSome(l link.Receiver, st *stream, first, end int) (n int) {
	s.Helper()
	var in [16]wire.Vesicle
	for until := time.Now().Add(settle); first+n < end; {
		// Read before Poll: however long this goroutine was stopped, at least one
		// Poll says that nothing is there.
		now := time.Now()
		k, err := l.Poll(in[:])
		s.must(err)
		s.compare(in[:k], st, first+n)
		s.must(l.Release(k))
		switch n += k; {
		case k > 0:
			until = time.Now().Add(settle)
		case now.After(until):
			return n
		default:
			runtime.Gosched()
		}
	}
	return n
}

// casePingPong has both sides sleep before each vesicle. The pauses before
// sending hit every moment of the other side's way to sleep.
func casePingPong(s *suite) {
	a, b := s.open()
	st := stream{size: constant(small(a, 24))}
	rounds := s.most(5000, 2*st.size(0))
	side := func(l link.Link, first bool) func() error {
		return func() error {
			x := s.exchange(stream{count: rounds, batch: 1, size: st.size})
			x.parked = true
			p := s.patience("")
			for i := range rounds {
				if first {
					spinFor(i)
					if err := x.sendAll(l, []int{i}); err != nil {
						return err
					}
				}
				if err := x.receiveOne(l, i, p); err != nil {
					return fmt.Errorf("ping-pong: %w", err)
				}
				if !first {
					spinFor(i * 7)
					if err := x.sendAll(l, []int{i}); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	s.must(together(side(a, true), side(b, false)))
}

// receiveOne waits for vesicle i, asleep.
func (x *exchange) receiveOne(l link.Link, i int, p *patience) error {
	for {
		n, err := l.Poll(x.in[:1])
		if err != nil {
			return err
		}
		if n == 1 {
			p.progress()
			if err := x.stream.check(&x.in[0], i); err != nil {
				return err
			}
			return l.Release(1)
		}
		// A vesicle that comes now must keep Arm from letting us sleep.
		spinFor(i * 13)
		if i%16 == 0 {
			runtime.Gosched()
		}
		p.what = fmt.Sprintf("waiting for vesicle %d of %d", i, x.stream.count)
		if err := x.idleReceiving(l, p); err != nil {
			return err
		}
	}
}

// spinFor passes a time between nothing and some microseconds.
func spinFor(i int) {
	x := uint64(i)
	for range mix(x) % 4096 {
		x = mix(x)
	}
	if x == 42 {
		runtime.Gosched() // so that the loop is not removed
	}
}

// caseParkedStreams sleeps on both sides of both directions, which share the
// descriptors: no half may consume the wake-up of another.
func caseParkedStreams(s *suite) {
	a, b := s.open()
	size := small(a, 180)
	count := s.most(20_000, size/2)
	there := s.exchange(stream{count: count, batch: 8, size: func(i int) int { return int(mix(uint64(i)) % uint64(size+1)) }})
	back := s.exchange(stream{count: count, batch: 3, size: constant(size)})
	for _, x := range []*exchange{there, back} {
		x.parked = true
		batches := 0
		x.pause = func() {
			if batches++; batches%64 == 0 {
				time.Sleep(100 * time.Microsecond) // lets the link fill up
			}
		}
	}
	s.must(together(
		func() error { return there.send(a) }, func() error { return there.receive(b) },
		func() error { return back.send(b) }, func() error { return back.receive(a) },
	))
}

func caseShutdownWakes(s *suite) {
	shutdown := func(l link.Link) func() { return l.Shutdown }
	for round := range 6 {
		for _, own := range []bool{true, false} {
			a, b := s.open()
			by := shutdown(b)
			if own {
				by = shutdown(a)
			}
			s.asleep(a, round, by)
		}
	}
}

func casePeerDiesAsleep(s *suite) {
	for round := range 6 {
		a, b := s.open()
		s.asleep(a, round, func() { s.h.Kill(s.TB, b) })
		s.gone(a)
	}
}

// asleep lets the receiver of l sleep, ends the link from another goroutine
// and asserts that the sleeper wakes and sees why.
func (s *suite) asleep(l link.Link, round int, end func()) {
	s.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(time.Duration(round) * 300 * time.Microsecond)
		end()
	}()
	p := s.patience("asleep on WaitFDs while the link is ended: nothing tells the sleeper")
	var in [1]wire.Vesicle
	for {
		n, err := l.Poll(in[:])
		if errors.Is(err, link.ErrClosed) || errors.Is(err, link.ErrPeerGone) {
			break
		}
		if n != 0 || err != nil {
			s.Fatalf("Poll: %d, %v", n, err)
		}
		if l.Arm() {
			ready, err := await(l, s.h.Timeout)
			s.must(err)
			if !ready {
				s.Fatal(p.what)
			}
		}
		l.Disarm()
		if err := l.CheckPeer(); err == nil {
			s.must(p.idle())
		}
	}
	<-done
}

func caseQuiet(s *suite) {
	a, b := s.open()
	s.transfer(a, b, stream{count: s.most(500, 50), batch: 3, size: constant(small(a, 50))})
	s.transfer(b, a, stream{count: s.most(500, 50), batch: 3, size: constant(small(b, 50))})
	wakes := 0
	for end := time.Now().Add(5 * settle); time.Now().Before(end); {
		if !b.Arm() {
			s.nothing(b)
			continue
		}
		ready, err := await(b, 5*settle)
		s.must(err)
		if ready {
			wakes++
			b.Disarm()
			s.must(b.CheckPeer())
			s.nothingNow(b)
			continue
		}
		b.Disarm()
	}
	// A medium may have a word of its own to say now and then.
	if wakes > 20 {
		s.Errorf("woken %d times within %v though nothing was sent", wakes, 5*settle)
	}
}
