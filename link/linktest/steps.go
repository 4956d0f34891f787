package linktest

import (
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// settle is how long a case watches for something that must not happen.
const settle = 20 * time.Millisecond

// claim claims exactly n places, for which there must be room soon.
func (s *suite) claim(l link.Sender, n, size int) []wire.Vesicle {
	s.Helper()
	vs := make([]wire.Vesicle, n)
	p := s.patience(fmt.Sprintf("Claim of %d × %d bytes says ErrFull; Harness.Open must give room for 16 × 200", n, size))
	for got := 0; got < n; {
		k, err := l.Claim(vs[got:], size)
		if errors.Is(err, link.ErrFull) && k == 0 {
			s.must(p.idle()) // the medium may still be giving room back
			continue
		}
		if err != nil || k < 1 || k > n-got {
			s.Fatalf("Claim of %d × %d bytes: %d, %v", n-got, size, k, err)
		}
		got += k
	}
	for i := range vs {
		if len(vs[i].Payload) != size {
			s.Fatalf("claimed %d bytes, got %d", size, len(vs[i].Payload))
		}
	}
	return vs
}

// write fills claimed places with the vesicles of st from number first on.
func write(vs []wire.Vesicle, st *stream, first int) {
	for k := range vs {
		i := first + k
		vs[k].Payload = vs[k].Payload[:st.size(i)]
		fill(vs[k].Payload, i)
		vs[k].Header = st.headerOf(i)
	}
}

func (s *suite) commit(l link.Sender, vs []wire.Vesicle) {
	s.Helper()
	if err := l.Commit(vs); err != nil {
		s.Fatalf("Commit(%d): %v", len(vs), err)
	}
}

// flush flushes until nothing is left.
func (s *suite) flush(l link.Sender) {
	s.Helper()
	p := s.patience("Flush says ErrFull though the peer has taken everything")
	for {
		err := l.Flush()
		if err == nil {
			return
		}
		if !errors.Is(err, link.ErrFull) {
			s.Fatalf("Flush: %v", err)
		}
		s.must(p.idle())
	}
}

// send claims, commits and flushes the vesicles first to first+n-1 of st.
func (s *suite) send(l link.Sender, st *stream, first, n int) {
	s.Helper()
	size := 0
	for i := first; i < first+n; i++ {
		size = max(size, st.size(i))
	}
	vs := s.claim(l, n, size)
	write(vs, st, first)
	s.commit(l, vs)
	s.flush(l)
}

// poll waits for n vesicles, at most batch at a time, and releases none.
func (s *suite) poll(l link.Receiver, n, batch int) []wire.Vesicle {
	s.Helper()
	vs := make([]wire.Vesicle, n)
	p := s.patience("")
	for got := 0; got < n; {
		k, err := l.Poll(vs[got:min(n, got+batch)])
		if err != nil {
			s.Fatalf("Poll after %d of %d vesicles: %v", got, n, err)
		}
		if k == 0 {
			p.what = fmt.Sprintf("%d of %d vesicles have arrived", got, n)
			s.must(p.idle())
			continue
		}
		got += k
		p.progress()
	}
	return vs
}

// expect waits for the vesicles first to first+n-1 of st and releases them.
func (s *suite) expect(l link.Receiver, st *stream, first, n int) {
	s.Helper()
	vs := s.poll(l, n, max(n, 1))
	s.compare(vs, st, first)
	s.must(l.Release(n))
}

// expectMany is expect for more than a link need hold polled at once, from a
// sender whose Flush may have said ErrFull.
func (s *suite) expectMany(from link.Sender, l link.Receiver, st *stream, first, n int) {
	s.Helper()
	var in [16]wire.Vesicle
	p := s.patience("")
	for got := 0; got < n; {
		if err := from.Flush(); err != nil && !errors.Is(err, link.ErrFull) {
			s.Fatalf("Flush: %v", err)
		}
		k, err := l.Poll(in[:min(len(in), n-got)])
		if err != nil {
			s.Fatalf("Poll after %d of %d vesicles: %v", got, n, err)
		}
		if k == 0 {
			p.what = fmt.Sprintf("%d of %d vesicles have arrived", got, n)
			s.must(p.idle())
			continue
		}
		p.progress()
		s.compare(in[:k], st, first+got)
		s.must(l.Release(k))
		got += k
	}
}

func (s *suite) compare(vs []wire.Vesicle, st *stream, first int) {
	s.Helper()
	for k := range vs {
		s.must(st.check(&vs[k], first+k))
	}
}

// nothing asserts that no vesicle is there or comes.
func (s *suite) nothing(l link.Receiver) {
	s.Helper()
	var in [4]wire.Vesicle
	for end := time.Now().Add(settle); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if n, err := l.Poll(in[:]); n != 0 || err != nil {
			s.Fatalf("nothing should be there; Poll gives %d, %v, header %+v", n, err, in[0].Header)
		}
	}
}

// eventually waits until f returns want.
func (s *suite) eventually(what string, want error, f func() error) {
	s.Helper()
	var got error
	p := s.patience("")
	for {
		if got = f(); errors.Is(got, want) && (want != nil || got == nil) {
			return
		}
		p.what = fmt.Sprintf("%s gives %v, want %v", what, got, want)
		s.must(p.idle())
	}
}

// drain polls and releases what is left until Poll fails, checks that it is
// what st holds from number first on, and returns how many came and the error.
func (s *suite) drain(l link.Receiver, st *stream, first int) (n int, err error) {
	s.Helper()
	var in [8]wire.Vesicle
	p := s.patience("polling what is left, until an error tells the end")
	for {
		k, err := l.Poll(in[:])
		if err != nil {
			return n, err
		}
		if k == 0 {
			s.must(p.idle())
			continue
		}
		p.progress()
		for j := range in[:k] {
			i := first + n + j
			if s.h.Lossy || s.h.Unordered {
				i = int(in[j].Header.Correlation)
			}
			s.must(st.check(&in[j], i))
		}
		n += k
		s.must(l.Release(k))
	}
}

// stuff sends vesicles of st until the link is full for good, and returns how
// many it took. The last one is flushed.
func (s *suite) stuff(l link.Sender, st *stream) int {
	s.Helper()
	return s.stuffFrom(l, st, 0)
}

// stuffFrom is stuff for a link that holds the first i vesicles already.
func (s *suite) stuffFrom(l link.Sender, st *stream, i int) int {
	s.Helper()
	var v [1]wire.Vesicle
	// Looks are counted, too: whoever moves what is under way needs the processor, of
	// which a busy host may give none while time goes by.
	const leastLooks = 50
	total, looks, lastProgress := 0, 0, time.Now()
	for {
		n, err := l.Claim(v[:], st.size(i))
		switch {
		case n == 1 && err == nil:
			write(v[:], st, i)
			s.commit(l, v[:])
			total += st.size(i) + wire.HeaderSize
			i++
			looks, lastProgress = 0, time.Now()
			if total > 2*s.h.MaxTotal {
				s.Fatalf("took %d bytes in %d vesicles without saying ErrFull: is there a queue without bound? If the link really holds more than Harness.MaxTotal, raise that", total, i)
			}
		case !errors.Is(err, link.ErrFull):
			s.Fatalf("Claim: %d, %v", n, err)
		case n != 0:
			s.Fatalf("Claim: %d, %v; nothing may be claimed with an error", n, err)
		case looks > leastLooks && time.Since(lastProgress) > s.h.Settle:
			return i
		default:
			looks++
			time.Sleep(100 * time.Microsecond) // the medium may still be taking some
		}
		if err := l.Flush(); err != nil && !errors.Is(err, link.ErrFull) {
			s.Fatalf("Flush: %v", err)
		}
	}
}
