package linktest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// gone asserts that every call on l tells that the peer is gone.
func (s *suite) gone(l link.Link) {
	s.Helper()
	var v [1]wire.Vesicle
	s.eventually("Claim after the peer went", link.ErrPeerGone, func() error {
		n, err := l.Claim(v[:], 1)
		if n > 0 {
			l.Abort()
		}
		return err
	})
	s.eventually("Flush after the peer went", link.ErrPeerGone, l.Flush)
	s.eventually("CheckPeer after the peer went", link.ErrPeerGone, l.CheckPeer)
	for range 3 {
		if n, err := l.Poll(v[:]); n != 0 || !errors.Is(err, link.ErrPeerGone) {
			s.Fatalf("Poll after ErrPeerGone: %d, %v", n, err)
		}
	}
	if s.h.CanPark {
		if l.Arm() {
			s.Error("Arm lets a receiver sleep whose peer is gone")
		}
		if l.ArmSpace(1) {
			s.Error("ArmSpace lets a sender sleep whose peer is gone")
		}
		l.Disarm()
		l.DisarmSpace()
	}
	if !errors.Is(link.ErrPeerGone, link.ErrClosed) && errors.Is(l.CheckPeer(), link.ErrClosed) {
		s.Error("CheckPeer says that this side was closed, which it was not")
	}
}

// endsWith lets b send n vesicles and end, and checks what a sees of it.
func (s *suite) endsWith(n int, end func(b link.Link)) {
	s.Helper()
	a, b := s.open()
	st := stream{size: constant(small(b, 100))}
	s.transfer(a, b, stream{count: 5, batch: 2, size: st.size})
	if n > 0 {
		s.send(b, &st, 0, n)
	}
	end(b)
	got, err := s.drain(a, &st, 0)
	if !errors.Is(err, link.ErrPeerGone) {
		s.Fatalf("after the peer's end and %d of %d vesicles Poll says %v, want ErrPeerGone", got, n, err)
	}
	if got != n && !s.h.Lossy {
		s.Fatalf("%d of the %d vesicles that the peer flushed before its end arrived", got, n)
	}
	s.gone(a)
}

func casePeerShutdown(s *suite) {
	for _, n := range []int{0, 1, 12} {
		s.endsWith(n, func(b link.Link) { b.Shutdown() })
	}
}

func casePeerClose(s *suite) {
	for _, n := range []int{0, 1, 12} {
		s.endsWith(n, func(b link.Link) { s.must(b.Close()) })
	}
}

func casePeerDies(s *suite) {
	for _, n := range []int{0, 1, 12} {
		s.endsWith(n, func(b link.Link) { s.h.Kill(s.TB, b) })
	}
}

func casePeerDiesClaiming(s *suite) {
	s.endsWith(3, func(b link.Link) {
		st := stream{size: constant(small(b, 100))}
		vs := s.claim(b, 4, st.size(0))
		write(vs[:1], &st, 1000)
		s.h.Kill(s.TB, b)
	})
}

func caseOwnShutdown(s *suite) {
	a, b := s.open()
	st := stream{size: constant(small(a, 100))}
	var held []wire.Vesicle
	if exact(&s.h) == "" {
		s.send(b, &st, 0, 3)
		held = s.poll(a, 1, 1)
	}
	claimed := s.claim(a, 2, st.size(0))
	for range 3 {
		a.Shutdown()
		var v [1]wire.Vesicle
		if n, err := a.Claim(v[:], 1); n != 0 || !errors.Is(err, link.ErrClosed) {
			s.Errorf("Claim after Shutdown: %d, %v, want ErrClosed", n, err)
		}
		if err := a.Flush(); !errors.Is(err, link.ErrClosed) {
			s.Errorf("Flush after Shutdown: %v, want ErrClosed", err)
		}
		if n, err := a.Poll(v[:]); n != 0 || !errors.Is(err, link.ErrClosed) {
			s.Errorf("Poll after Shutdown: %d, %v, want ErrClosed", n, err)
		}
		if err := a.CheckPeer(); !errors.Is(err, link.ErrClosed) {
			s.Errorf("CheckPeer after Shutdown: %v, want ErrClosed", err)
		}
		if s.h.CanPark && (a.Arm() || a.ArmSpace(1)) {
			s.Error("a link that was shut down lets its user sleep")
		}
	}
	// Shutdown frees nothing: what was handed out is there until Close.
	s.compare(held, &st, 0)
	for i := range claimed {
		fill(claimed[i].Payload, i)
	}
	a.Abort()
	_ = a.Release(len(held))
	a.Info()
	a.SendStats()
	a.ReceiveStats()
}

func caseShutdownInTraffic(s *suite) {
	for round := range 10 {
		a, b := s.open()
		st := stream{count: 1 << 30, batch: 4, size: constant(small(a, 100))}
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for i, f := range []func() error{
			func() error { return s.sendForEver(a, st) }, func() error { return s.sendForEver(b, st) },
			func() error { return s.receiveForEver(a) }, func() error { return s.receiveForEver(b) },
		} {
			wg.Go(func() { errs[i] = f() })
		}
		time.Sleep(time.Duration(round) * time.Millisecond / 2)
		for i := range 4 {
			wg.Go(func() {
				for range 50 {
					if (i+round)%3 == 0 {
						b.Shutdown()
					} else {
						a.Shutdown()
					}
				}
			})
		}
		wg.Wait()
		for i, err := range errs {
			if !errors.Is(err, link.ErrClosed) && !errors.Is(err, link.ErrPeerGone) {
				s.Fatalf("goroutine %d ended with %v, want ErrClosed or ErrPeerGone", i, err)
			}
		}
	}
}

// sendForEver sends until the link ends and returns how.
func (s *suite) sendForEver(l link.Sender, st stream) error {
	var out [4]wire.Vesicle
	p := s.patience("a sender has neither room nor an error though the link was shut down")
	for i := 0; ; {
		n, err := l.Claim(out[:], st.size(i))
		if err == nil {
			p.progress()
			write(out[:n], &st, i)
			i += n
			err = l.Commit(out[:n])
		}
		if err == nil {
			err = l.Flush()
		}
		if errors.Is(err, link.ErrFull) {
			err = p.idle()
		}
		if err != nil {
			return err
		}
	}
}

// receiveForEver polls until the link ends and returns how.
func (s *suite) receiveForEver(l link.Receiver) error {
	var in [4]wire.Vesicle
	p := s.patience("a receiver gets neither vesicles nor an error though the link was shut down")
	for {
		n, err := l.Poll(in[:])
		if err == nil && n > 0 {
			p.progress()
			err = l.Release(n)
		} else if err == nil {
			err = p.idle()
		}
		if err != nil {
			return err
		}
	}
}

func caseCloseAgain(s *suite) {
	a, b := s.open()
	for _, l := range []link.Link{a, b, b, a} {
		if err := l.Close(); err != nil && !errors.Is(err, link.ErrClosed) {
			s.Errorf("Close: %v", err)
		}
		l.Shutdown() // harmless behind Close
	}
}

func caseGarbage(s *suite) {
	noticed := 0
	rounds := s.most(30, 4000)
	for round := range rounds {
		a, b := s.open()
		size := small(a, 100)
		s.transfer(b, a, stream{count: 3, batch: 1, size: constant(size)})
		rng := rand.New(rand.NewPCG(uint64(round), 42))
		before := a.ReceiveStats()
		s.h.Garbage(s.TB, rng, a, b)
		if s.swallow(a, before) {
			noticed++
		}
		s.must(errors.Join(a.Close(), b.Close()))
	}
	if noticed == 0 {
		s.Errorf("%d times garbage, and neither an error nor Stats.Dropped nor Stats.Corrupt tells of it", rounds)
	}
}

// swallow polls what garbage became: nothing but whole and valid vesicles, an
// error, or a counter. It reports whether the link noticed anything.
func (s *suite) swallow(l link.Link, before link.Stats) (noticed bool) {
	s.Helper()
	var in [8]wire.Vesicle
	most := l.Info().MaxPayload
	sum := byte(0)
	for quiet := time.Now(); time.Since(quiet) < settle; {
		n, err := l.Poll(in[:])
		if err != nil {
			if !errors.Is(err, link.ErrCorrupt) && !errors.Is(err, link.ErrPeerGone) {
				s.Fatalf("garbage makes Poll say %v, want ErrCorrupt or ErrPeerGone", err)
			}
			if n, again := l.Poll(in[:]); n != 0 || again == nil {
				s.Fatalf("after %v Poll goes on: %d, %v", err, n, again)
			}
			return true
		}
		for _, v := range in[:n] {
			if err := v.Header.Validate(); err != nil || int(v.Header.Length) != len(v.Payload) || len(v.Payload) > most {
				s.Fatalf("garbage became a vesicle that can't be: %v, %d bytes of at most %d, %+v", err, len(v.Payload), most, v.Header)
			}
			for _, b := range v.Payload {
				sum += b // all of it can be read
			}
		}
		s.must(l.Release(n))
		if n > 0 && time.Since(quiet) < s.h.Timeout {
			quiet = time.Now()
		}
	}
	_ = sum
	// The other direction must not hang either.
	if n, err := l.Claim(in[:1], 1); err == nil && n == 1 {
		l.Abort()
	}
	after := l.ReceiveStats()
	return after.Dropped+after.Corrupt > before.Dropped+before.Corrupt
}

func caseReconnect(s *suite) {
	a, b := s.open()
	for round := range 8 {
		size := small(a, 100)
		s.transfer(a, b, stream{count: 20, batch: 3, size: constant(size)})
		s.transfer(b, a, stream{count: 20, batch: 3, size: constant(size)})
		if exact(&s.h) == "" && round%2 == 0 {
			// What is under way belongs to the old link and stays there.
			s.send(a, &stream{size: constant(size)}, 900, 3)
		}
		s.must(a.Close())
		if round%3 == 1 && s.h.Kill != nil {
			s.h.Kill(s.TB, b)
		}
		s.must(b.Close())
		if s.h.Reconnect == nil {
			a, b = s.open()
			continue
		}
		oldA, oldB := a, b
		a, b = s.h.Reconnect(s.TB, oldA, oldB)
		if a == nil || b == nil {
			s.Fatal(fmt.Errorf("Harness.Reconnect returned no link in round %d", round))
		}
		s.closeLater(a, b)
	}
}
