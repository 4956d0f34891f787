package linktest

import (
	"fmt"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func caseBackpressure(s *suite) {
	a, b := s.open()
	for _, size := range []int{small(a, 200), 0, a.Info().MaxPayload} {
		st := stream{size: constant(size)}
		n := s.stuff(a, &st)
		if n == 0 {
			s.Fatalf("an empty link takes no vesicle of %d bytes", size)
		}
		var v [1]wire.Vesicle
		s.eventually("Claim on a full link", link.ErrFull, func() error {
			k, err := a.Claim(v[:], size)
			if k == 1 && err == nil {
				a.Abort()
				n = s.stuffFrom(a, &st, n) // the medium has taken some since
			}
			return err
		})
		if full := a.SendStats().Full; full == 0 {
			s.Error("Stats.Full is 0 after ErrFull")
		}
		// Half of it gives room for at least one, and nothing gets lost.
		s.expectMany(a, b, &st, 0, (n+1)/2)
		s.eventually("Claim after half was released", nil, func() error {
			k, err := a.Claim(v[:], size)
			if k == 1 || err != nil {
				return err
			}
			return fmt.Errorf("Claim returned %d", k)
		})
		write(v[:], &st, n)
		s.commit(a, v[:])
		s.expectMany(a, b, &st, (n+1)/2, n+1-(n+1)/2)
		s.flush(a)
		s.nothing(b)
	}
}

func caseStats(s *suite) {
	a, b := s.open()
	size := small(a, 30)
	st := stream{size: constant(size)}
	if sent, got := a.SendStats(), b.ReceiveStats(); sent != (link.Stats{}) || got != (link.Stats{}) {
		// A handshake may count as something, but not as vesicles.
		if sent.Vesicles != 0 || got.Vesicles != 0 || got.Corrupt != 0 {
			s.Errorf("a new link has counted: %+v, %+v", sent, got)
		}
	}
	for first := 0; first < 30; first += 10 {
		s.send(a, &st, first, 10)
		s.expect(b, &st, first, 10)
	}
	for _, v := range []struct {
		half string
		got  link.Stats
	}{{"SendStats", a.SendStats()}, {"ReceiveStats", b.ReceiveStats()}} {
		if v.got.Vesicles != 30 || v.got.Bytes != uint64(30*size) || v.got.Flushes < 3 {
			s.Errorf("%s after 3 × 10 vesicles of %d bytes: %+v", v.half, size, v.got)
		}
		if v.got.Dropped != 0 || v.got.Corrupt != 0 || v.got.Full != 0 {
			s.Errorf("%s of an undisturbed link: %+v", v.half, v.got)
		}
	}
	if back := b.SendStats(); back.Vesicles != 0 {
		s.Errorf("the unused direction has counted: %+v", back)
	}
	// What is aborted does not count.
	s.claim(a, 3, size)
	a.Abort()
	s.flush(a)
	if got := a.SendStats().Vesicles; got != 30 {
		s.Errorf("%d vesicles after an abort, want 30", got)
	}
}
