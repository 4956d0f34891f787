package linktest

import (
	"errors"
	"math"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func caseOrder(s *suite) {
	for _, batch := range []int{1, 7} {
		a, b := s.open()
		size := small(a, 200)
		s.transfer(a, b, stream{
			count: s.most(10_000, size), batch: batch,
			size: func(i int) int { return int(mix(uint64(i)) % uint64(size+1)) },
		})
		s.transfer(b, a, stream{count: s.most(100, size), batch: batch, size: constant(size)})
	}
}

func caseZeroLength(s *suite) {
	a, b := s.open()
	s.transfer(a, b, stream{count: s.most(2000, 0), batch: 1, size: constant(0)})
	s.transfer(a, b, stream{count: s.most(2000, 0), batch: 16, size: constant(0)})
	s.transfer(a, b, stream{count: s.most(2000, 40), batch: 5, size: func(i int) int {
		if i%3 == 0 {
			return small(a, 40)
		}
		return 0
	}})
}

func caseSmallLengths(s *suite) {
	a, b := s.open()
	most := small(a, 130)
	for _, batch := range []int{1, 9} {
		s.transfer(a, b, stream{
			count: s.most(4*most, most), batch: batch,
			size: func(i int) int { return 1 + i%most },
		})
	}
}

func caseMaximalLength(s *suite) {
	a, b := s.open()
	most := a.Info().MaxPayload
	s.transfer(a, b, stream{count: s.most(40, most), batch: 1, size: constant(most)})
	s.transfer(a, b, stream{count: s.most(20, most), batch: 4, size: func(i int) int {
		return max(0, most-i%10)
	}})
	if other := b.Info().MaxPayload; other != most {
		s.transfer(b, a, stream{count: s.most(10, other), batch: 1, size: constant(other)})
	}
}

func caseTooLarge(s *suite) {
	a, b := s.open()
	most := a.Info().MaxPayload
	for _, size := range []int{most + 1, most + wire.HeaderSize, 2*most + 1, math.MaxInt32, math.MaxInt} {
		var vs [3]wire.Vesicle
		if n, err := a.Claim(vs[:], size); n != 0 || !errors.Is(err, link.ErrTooLarge) {
			s.Fatalf("Claim of %d bytes where the maximum is %d: %d, %v, want ErrTooLarge", size, most, n, err)
		}
	}
	// A refusal leaves nothing claimed.
	if err := a.Commit(make([]wire.Vesicle, 1)); !errors.Is(err, link.ErrOrder) {
		s.Errorf("Commit after refused claims: %v, want ErrOrder", err)
	}
	s.transfer(a, b, stream{count: 10, batch: 2, size: constant(small(a, 100))})
}

func caseWrap(s *suite) {
	a, b := s.open()
	probe := stream{size: constant(small(a, 200))}
	capacity := s.h.MaxTotal / 8
	if exact(&s.h) == "" {
		n := s.stuff(a, &probe)
		capacity = n * (probe.size(0) + wire.HeaderSize)
		s.expectMany(a, b, &probe, 0, n)
	}
	most := small(a, max(200, min(capacity/8, 4000)))
	for _, batch := range []int{1, 3, 32} {
		// Odd sizes, about eight times around.
		size := func(i int) int { return int(mix(uint64(i*batch))%uint64(most)) | 1 }
		count := s.most(max(100, 8*capacity/(most/2+wire.HeaderSize)), most)
		s.transfer(a, b, stream{count: count, batch: batch, size: func(i int) int { return min(size(i), most) }})
	}
}

func caseBatches(s *suite) {
	a, b := s.open()
	size := small(a, 60)
	for _, batch := range []int{1, 2, 3, 5, 8, 13, 21, 32, 64} {
		s.transfer(a, b, stream{count: s.most(3*batch+1, size), batch: batch, size: func(i int) int { return (i * 7) % (size + 1) }})
	}
	// Polling into nothing takes nothing.
	if n, err := b.Poll(nil); n != 0 || err != nil {
		s.Errorf("Poll(nil) = %d, %v", n, err)
	}
}

// allHeaders lists every valid combination of kind, flags and channel.
func allHeaders(ownsControl bool) (hs []wire.Header) {
	for kind := wire.KindRequest; kind <= wire.KindControl; kind++ {
		if kind == wire.KindControl && ownsControl {
			continue
		}
		for flags := range 64 {
			for channel := wire.ChannelApplication; channel <= wire.ChannelDiscovery; channel++ {
				h := wire.Header{
					Kind: kind, Flags: wire.Flags(flags), Channel: channel,
					Length: wire.FragmentSize, Hops: uint8(mix(uint64(len(hs)))),
					Fingerprint: mix(uint64(len(hs))),
				}
				if h.Validate() == nil {
					hs = append(hs, h)
				}
			}
		}
	}
	for i, extreme := range []wire.Header{{}, {Fingerprint: math.MaxUint64, Hops: 255}, {Fingerprint: 1 << 63, Hops: 1}} {
		extreme.Kind = wire.Kind(i + 1)
		hs = append(hs, extreme)
	}
	return hs
}

func caseHeaders(s *suite) {
	a, b := s.open()
	hs := allHeaders(s.h.OwnsControl)
	size := small(a, 20)
	if size < wire.FragmentSize {
		s.Fatalf("MaxPayload is %d; a link must carry at least %d", size, wire.FragmentSize)
	}
	st := stream{
		count: len(hs), batch: 8, size: constant(size),
		header: func(i, size int) wire.Header {
			h := hs[i]
			h.Correlation = uint32(i)
			return h
		},
	}
	s.transfer(a, b, st)
	if exact(&s.h) != "" {
		return
	}
	// The extremes of what the suite otherwise counts with.
	st.count = 2
	st.header = func(i, size int) wire.Header {
		return wire.Header{Kind: wire.KindReply, Correlation: uint32(-i)}
	}
	s.transfer(b, a, st)
}

func caseBothDirections(s *suite) {
	a, b := s.open()
	size := small(a, 300)
	there := s.exchange(stream{count: s.most(20_000, size), batch: 16, size: func(i int) int { return int(mix(uint64(i)) % uint64(size+1)) }})
	back := s.exchange(stream{count: s.most(20_000, size), batch: 5, size: func(i int) int { return int(mix(uint64(i)+9) % uint64(size+1)) }})
	s.must(together(
		func() error { return there.send(a) }, func() error { return there.receive(b) },
		func() error { return back.send(b) }, func() error { return back.receive(a) },
	))
}

func caseSlowConsumer(s *suite) {
	a, b := s.open()
	size := small(a, 200)
	x := s.exchange(stream{count: s.most(2000, size), batch: 16, size: constant(size)})
	batches := 0
	x.pause = func() {
		if batches++; batches%8 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	s.must(x.run(a, b))
}
