package linktest

import (
	"errors"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func mixedSizes(l link.Link) stream {
	most := small(l, 200)
	return stream{size: func(i int) int { return i * 37 % (most + 1) }}
}

func casePartialCommit(s *suite) {
	a, b := s.open()
	st := stream{size: constant(small(a, 100))}
	for round := range 50 {
		first := 10 * round
		vs := s.claim(a, 10, st.size(0))
		write(vs, &st, first)
		s.commit(a, vs[:3])
		s.commit(a, nil)
		s.flush(a)
		s.expect(b, &st, first, 3)
		s.nothingNow(b)
		s.commit(a, vs[3:7])
		s.commit(a, vs[7:])
		s.flush(a)
		s.expect(b, &st, first+3, 7)
	}
}

// nothingNow is nothing without watching for long.
func (s *suite) nothingNow(l link.Receiver) {
	s.Helper()
	var in [1]wire.Vesicle
	if n, err := l.Poll(in[:]); n != 0 || err != nil {
		s.Fatalf("a vesicle that was claimed but not committed arrived: Poll gives %d, %v, header %+v", n, err, in[0].Header)
	}
}

func caseSeveralClaims(s *suite) {
	a, b := s.open()
	st := mixedSizes(a)
	most := small(a, 200)
	for round := range 50 {
		first := 9 * round
		// The places of all claims differ, whatever their sizes.
		vs := append(s.claim(a, 3, most), s.claim(a, 2, most)...)
		vs = append(vs, s.claim(a, 4, most)...)
		write(vs, &st, first)
		s.commit(a, vs[:4])
		s.commit(a, vs[4:])
		s.flush(a)
		s.expect(b, &st, first, 9)
	}
}

func caseAbort(s *suite) {
	a, b := s.open()
	st := stream{size: constant(small(a, 100))}
	sent := 0
	for round := range 30 {
		for keep := range 9 {
			vs := s.claim(a, 8, st.size(0))
			write(vs, &st, sent)
			s.commit(a, vs[:keep])
			if round%2 == 0 {
				s.flush(a)
			}
			a.Abort()
			a.Abort() // harmless
			if err := a.Commit(vs[keep:]); keep < 8 && !errors.Is(err, link.ErrOrder) {
				s.Fatalf("Commit of %d aborted claims: %v, want ErrOrder", 8-keep, err)
			}
			sent += keep
			// The next one follows what was kept.
			s.send(a, &st, sent, 1)
			sent++
			s.expect(b, &st, sent-keep-1, keep+1)
		}
	}
	s.nothing(b)
	// Aborted room comes back.
	for range 5000 {
		s.claim(a, 8, st.size(0))
		a.Abort()
	}
	s.send(a, &st, sent, 10)
	s.expect(b, &st, sent, 10)
}

func caseShortened(s *suite) {
	a, b := s.open()
	most := small(a, 200)
	for to := 0; to <= most; to++ {
		st := stream{size: func(i int) int {
			if i == 1 {
				return to
			}
			return most
		}}
		s.send(a, &st, 0, 3)
		s.expect(b, &st, 0, 3)
	}
	// Also the first, the last, and all of a batch.
	st := mixedSizes(a)
	for first := range 200 {
		s.send(a, &st, first, 8)
		s.expect(b, &st, first, 8)
	}
}

func caseCommitMisuse(s *suite) {
	a, b := s.open()
	st := stream{size: constant(small(a, 50))}
	refuse := func(what string, vs []wire.Vesicle) {
		s.Helper()
		if err := a.Commit(vs); !errors.Is(err, link.ErrOrder) {
			s.Fatalf("Commit of %d, %s: %v, want ErrOrder", len(vs), what, err)
		}
	}
	refuse("nothing was ever claimed", make([]wire.Vesicle, 1))
	vs := s.claim(a, 4, st.size(0))
	write(vs, &st, 0)
	extra := append(vs[:4:4], wire.Vesicle{Header: plainHeader(4, 0)})
	refuse("4 are claimed", extra)
	// The refusal changed nothing.
	s.commit(a, vs[:2])
	refuse("2 are left", extra[:3])
	s.commit(a, vs[2:])
	refuse("none is left", vs[:1])
	s.flush(a)
	s.expect(b, &st, 0, 4)
	s.nothing(b)
	s.send(a, &st, 4, 2)
	s.expect(b, &st, 4, 2)
}

func caseReleaseMisuse(s *suite) {
	a, b := s.open()
	st := stream{size: constant(small(a, 50))}
	refuse := func(what string, n int) {
		s.Helper()
		if err := b.Release(n); !errors.Is(err, link.ErrOrder) {
			s.Fatalf("Release(%d), %s: %v, want ErrOrder", n, what, err)
		}
	}
	refuse("nothing was ever polled", 1)
	s.send(a, &st, 0, 6)
	refuse("nothing is polled yet", 1)
	vs := s.poll(b, 6, 2)
	refuse("6 are polled", 7)
	refuse("a negative number", -1)
	s.must(b.Release(0))
	s.must(b.Release(4))
	refuse("2 are left", 3)
	s.compare(vs[4:], &st, 4)
	s.must(b.Release(2))
	refuse("none is left", 1)
	s.transfer(a, b, stream{count: s.most(1000, 50), batch: 4, size: st.size})
}

func caseSeveralPolls(s *suite) {
	a, b := s.open()
	st := mixedSizes(a)
	sent, released := 0, 0
	var held []wire.Vesicle // polled, not released
	for round := range 300 {
		if sent-released < 14 {
			s.send(a, &st, sent, 2)
			sent += 2
		}
		held = append(held, s.poll(b, sent-released-len(held), 1+round%3)...)
		// What was not released is intact, whatever was sent meanwhile.
		s.compare(held, &st, released)
		n := int(mix(uint64(round)) % uint64(len(held)+1))
		s.must(b.Release(n))
		held = held[n:]
		released += n
	}
	s.must(b.Release(len(held)))
	// A sender that takes all the room there is takes none of what is held.
	for range 3 {
		s.send(a, &st, 0, 8)
		held := s.poll(b, 8, 3)
		n := s.stuff(a, &st)
		s.compare(held, &st, 0)
		s.must(b.Release(5))
		s.compare(held[5:], &st, 5)
		s.must(b.Release(3))
		s.expectMany(a, b, &st, 0, n)
	}
}
