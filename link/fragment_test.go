package link_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

func pattern(n int, seed uint64) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func openPipe(t testing.TB, c linktest.PipeConfig) (a, b *linktest.End) {
	t.Helper()
	a, b, err := linktest.Pipe(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func newFragmenter(t testing.TB, l link.Link) *link.Fragmenter {
	t.Helper()
	f, err := link.NewFragmenter(l, l.Info().MaxPayload)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newReassembler(t testing.TB, limits link.ReassemblyLimits) *link.Reassembler {
	t.Helper()
	r, err := link.NewReassembler(limits)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// receive polls everything that is there and returns the whole vesicles.
func receive(t testing.TB, l link.Link, r *link.Reassembler) (whole []wire.Vesicle) {
	t.Helper()
	in := make([]wire.Vesicle, 3)
	for {
		n, err := l.Poll(in)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return whole
		}
		for i := range in[:n] {
			done, err := r.Add(&in[i], 0)
			if err != nil {
				t.Fatal(err)
			}
			if done {
				in[i].Payload = bytes.Clone(in[i].Payload)
				whole = append(whole, in[i])
			}
		}
		if err := l.Release(n); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFragmentsArriveAsTheVesicleThatWasSent(t *testing.T) {
	flags := []wire.Flags{0, wire.FlagEnd, wire.FlagDeadline, (wire.FlagEnd | wire.FlagDeadline).WithPriority(3)}
	for _, maxPayload := range []int{link.MinFragmentPayload, 21, 64, 1000, 4096} {
		for _, size := range []int{8, maxPayload - 1, maxPayload, maxPayload + 1, 2*maxPayload - 24, 2 * maxPayload, 10 * maxPayload, 33*maxPayload + 7} {
			for _, f := range flags {
				t.Run(fmt.Sprintf("%d bytes over a link of %d, flags %#x", size, maxPayload, f), func(t *testing.T) {
					a, b := openPipe(t, linktest.PipeConfig{Slots: 4, MaxPayload: maxPayload})
					send, r := newFragmenter(t, a), newReassembler(t, link.ReassemblyLimits{})
					h := wire.Header{
						Fingerprint: 1<<63 | 5, Correlation: 9, Kind: wire.KindStreamItem, Flags: f,
						Channel: wire.ChannelOperations, Hops: 77, Length: uint32(size),
					}
					payload := pattern(size, 1)
					var got []wire.Vesicle
					for rounds := 0; ; rounds++ {
						err := send.Send(h, payload)
						if err == nil {
							break
						}
						if !errors.Is(err, link.ErrFull) || rounds > 10000 {
							t.Fatal(err)
						}
						got = append(got, receive(t, b, r)...)
					}
					if err := a.Flush(); err != nil {
						t.Fatal(err)
					}
					got = append(got, receive(t, b, r)...)
					if len(got) != 1 || got[0].Header != h || !bytes.Equal(got[0].Payload, payload) {
						t.Fatalf("got %d vesicles, header %+v", len(got), got)
					}
					if n, _ := r.Pending(); n != 0 || r.Stats().Dropped() != 0 {
						t.Errorf("%d under way, %+v", n, r.Stats())
					}
				})
			}
		}
	}
}

func TestFragmentsAreSplitAgainByANarrowerLink(t *testing.T) {
	a, b := openPipe(t, linktest.PipeConfig{MaxPayload: 500})
	c, d := openPipe(t, linktest.PipeConfig{MaxPayload: 64, Slots: 256})
	wide, narrow := newFragmenter(t, a), newFragmenter(t, c)
	r := newReassembler(t, link.ReassemblyLimits{})
	h := wire.Header{Kind: wire.KindReply, Flags: wire.FlagEnd, Length: 1234}
	payload := pattern(1234, 1)
	if err := errors.Join(wide.Send(h, payload), a.Flush()); err != nil {
		t.Fatal(err)
	}
	in := make([]wire.Vesicle, 10)
	n, _ := b.Poll(in)
	for _, v := range in[:n] {
		if err := narrow.Send(v.Header, v.Payload); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	got := receive(t, d, r)
	if len(got) != 1 || got[0].Header != h || !bytes.Equal(got[0].Payload, payload) {
		t.Fatalf("got %+v", got)
	}
	// What only pretends to be a fragment is refused, not passed on.
	h.Flags |= wire.FlagFragment | wire.FlagMore
	if err := narrow.Send(h, payload); !errors.Is(err, wire.ErrFragment) {
		t.Errorf("a fragment with a nonsensical prefix: %v", err)
	}
}

func TestFragmenterRefuses(t *testing.T) {
	a, _ := openPipe(t, linktest.PipeConfig{MaxPayload: 100, Slots: 2})
	if _, err := link.NewFragmenter(a, link.MinFragmentPayload-1); err == nil {
		t.Error("a link that can't carry a fragment is accepted")
	}
	f := newFragmenter(t, a)
	h := wire.Header{Kind: wire.KindEvent}
	long := pattern(1000, 1)
	if err := f.Send(h, long); !errors.Is(err, link.ErrFull) || !f.Busy() {
		t.Fatalf("1000 bytes into 2 slots of 100: %v, busy %t", err, f.Busy())
	}
	if err := f.Send(h, long[:5]); !errors.Is(err, link.ErrOrder) {
		t.Errorf("another vesicle in between: %v", err)
	}
	h.Correlation++
	if err := f.Send(h, long); !errors.Is(err, link.ErrOrder) {
		t.Errorf("another header in between: %v", err)
	}
	f.Cancel()
	if f.Busy() {
		t.Error("busy after Cancel")
	}
	if err := f.Send(h, long); !errors.Is(err, link.ErrFull) || f.Busy() {
		t.Errorf("full link, nothing sent: %v, busy %t", err, f.Busy())
	}
	if got := f.Need(1000); got != 100 {
		t.Errorf("Need(1000) = %d", got)
	}
	if got := f.Need(30); got != 30 {
		t.Errorf("Need(30) = %d", got)
	}
	a.Shutdown()
	if err := f.Send(h, long); !errors.Is(err, link.ErrClosed) {
		t.Errorf("after Shutdown: %v", err)
	}
}

// piece makes a fragment by hand.
func piece(seq, total, offset uint32, data string) wire.Vesicle {
	v := wire.Vesicle{
		Header:  wire.Header{Kind: wire.KindEvent, Flags: wire.FlagFragment, Hops: 3},
		Payload: make([]byte, wire.FragmentSize, 64),
	}
	wire.PutFragment((*[wire.FragmentSize]byte)(v.Payload), wire.Fragment{Total: total, Offset: offset, Sequence: seq})
	v.Payload = append(v.Payload, data...)
	v.Header.Length = uint32(len(v.Payload))
	if offset+uint32(len(data)) < total {
		v.Header.Flags |= wire.FlagMore
	}
	return v
}

func with(v wire.Vesicle, change func(v *wire.Vesicle)) wire.Vesicle {
	change(&v)
	return v
}

func TestReassembler(t *testing.T) {
	abc, def, ghi := piece(1, 9, 0, "abc"), piece(1, 9, 3, "def"), piece(1, 9, 6, "ghi")
	for _, v := range []struct {
		name   string
		pieces []wire.Vesicle
		want   []string // wholes, in order
		err    error    // of the last piece
		stats  link.ReassemblyStats
	}{
		{name: "in order", pieces: []wire.Vesicle{abc, def, ghi}, want: []string{"abcdefghi"}},
		{name: "backwards", pieces: []wire.Vesicle{ghi, def, abc}, want: []string{"abcdefghi"}},
		{name: "the middle last", pieces: []wire.Vesicle{ghi, abc, def}, want: []string{"abcdefghi"}},
		{name: "one lost", pieces: []wire.Vesicle{abc, ghi}},
		{name: "first repeated", pieces: []wire.Vesicle{abc, abc, def, ghi}, want: []string{"abcdefghi"}, stats: link.ReassemblyStats{Duplicates: 1}},
		{name: "a part repeated", pieces: []wire.Vesicle{abc, def, piece(1, 9, 1, "bcd"), ghi}, want: []string{"abcdefghi"}, stats: link.ReassemblyStats{Duplicates: 1}},
		{name: "two vesicles mingle", pieces: []wire.Vesicle{abc, piece(2, 9, 0, "ABC"), def, piece(2, 9, 3, "DEF"), ghi, piece(2, 9, 6, "GHI")},
			want: []string{"abcdefghi", "ABCDEFGHI"}},
		{name: "lost piece is not taken from the next vesicle", pieces: []wire.Vesicle{abc, def, piece(2, 9, 6, "GHI")}},
		{name: "one piece is all", pieces: []wire.Vesicle{piece(1, 3, 0, "abc")}, want: []string{"abc"}},
		{name: "two in one, in the gap", pieces: []wire.Vesicle{abc, ghi, piece(1, 9, 3, "d"), piece(1, 9, 4, "ef")}, want: []string{"abcdefghi"}},

		{name: "overlap on the left", pieces: []wire.Vesicle{abc, piece(1, 9, 2, "cde")}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "overlap on the right", pieces: []wire.Vesicle{def, piece(1, 9, 1, "bcd")}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "overlap behind what it touches", pieces: []wire.Vesicle{abc, ghi, piece(1, 9, 3, "defg")}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "swallows another", pieces: []wire.Vesicle{def, piece(1, 9, 0, "abcdefghi")}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "repeated with other bytes", pieces: []wire.Vesicle{abc, piece(1, 9, 0, "abX")}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "other total", pieces: []wire.Vesicle{abc, piece(1, 10, 3, "def")}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "other hops", pieces: []wire.Vesicle{abc, with(def, func(v *wire.Vesicle) { v.Header.Hops-- })}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "other flags", pieces: []wire.Vesicle{abc, with(def, func(v *wire.Vesicle) { v.Header.Flags |= wire.FlagEnd })}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "last says more", pieces: []wire.Vesicle{with(ghi, func(v *wire.Vesicle) { v.Header.Flags |= wire.FlagMore })}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "first says no more", pieces: []wire.Vesicle{with(abc, func(v *wire.Vesicle) { v.Header.Flags &^= wire.FlagMore })}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "empty piece", pieces: []wire.Vesicle{piece(1, 9, 3, "")}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "beyond the end", pieces: []wire.Vesicle{piece(1, 9, 7, "hij")}, err: wire.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "shorter than its prefix", pieces: []wire.Vesicle{with(abc, func(v *wire.Vesicle) { v.Payload = v.Payload[:11] })}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "a deadline in 7 bytes", pieces: []wire.Vesicle{with(piece(1, 7, 0, "abc"), func(v *wire.Vesicle) { v.Header.Flags |= wire.FlagDeadline })}, err: link.ErrFragment, stats: link.ReassemblyStats{Inconsistent: 1}},
		{name: "above the limit", pieces: []wire.Vesicle{piece(1, 10001, 0, "abc")}, err: link.ErrTooLarge, stats: link.ReassemblyStats{Refused: 1}},
		{name: "too far ahead", pieces: []wire.Vesicle{piece(1, 9000, 0, "abc"), piece(1, 9000, 104, "x")}, err: link.ErrFragment, stats: link.ReassemblyStats{Refused: 1}},
		{name: "as far ahead as allowed", pieces: []wire.Vesicle{piece(1, 9000, 0, "abc"), piece(1, 9000, 103, "x")}},
	} {
		t.Run(v.name, func(t *testing.T) {
			r := newReassembler(t, link.ReassemblyLimits{Message: 10000, Ahead: 100})
			var got []string
			for i, p := range v.pieces {
				whole, err := r.Add(&p, 1)
				if last := i == len(v.pieces)-1; last && !errors.Is(err, v.err) || !last && err != nil {
					t.Fatalf("piece %d: %v, want %v", i, err, v.err)
				}
				if whole {
					if p.Header.Flags != 0 || p.Header.Hops != 3 || int(p.Header.Length) != len(p.Payload) {
						t.Errorf("header of the whole: %+v", p.Header)
					}
					got = append(got, string(p.Payload))
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(v.want) {
				t.Errorf("got %q, want %q", got, v.want)
			}
			v.stats.Fragments, v.stats.Whole = uint64(len(v.pieces)), uint64(len(v.want))
			if r.Stats() != v.stats {
				t.Errorf("stats %+v, want %+v", r.Stats(), v.stats)
			}
		})
	}
}

func TestReassemblerIsBounded(t *testing.T) {
	const second = int64(time.Second)
	t.Run("memory follows what arrives, not what is announced", func(t *testing.T) {
		r := newReassembler(t, link.ReassemblyLimits{Message: wire.MaxLength})
		p := piece(1, wire.MaxLength, 0, "abc")
		if _, err := r.Add(&p, 0); err != nil {
			t.Fatal(err)
		}
		if _, memory := r.Pending(); memory > 4096 {
			t.Errorf("%d bytes held for 3 that arrived", memory)
		}
	})
	t.Run("oldest goes when there are too many", func(t *testing.T) {
		r := newReassembler(t, link.ReassemblyLimits{Partial: 2})
		for _, p := range []wire.Vesicle{piece(1, 9, 0, "abc"), piece(2, 9, 0, "abc"), piece(1, 9, 3, "def"), piece(3, 9, 0, "abc")} {
			if _, err := r.Add(&p, 0); err != nil {
				t.Fatal(err)
			}
		}
		last := piece(1, 9, 6, "ghi") // 1 progressed after 2, so 2 went
		if whole, _ := r.Add(&last, 0); !whole || r.Stats().Evicted != 1 {
			t.Errorf("whole %t, %+v", whole, r.Stats())
		}
	})
	t.Run("oldest goes when memory ends", func(t *testing.T) {
		r := newReassembler(t, link.ReassemblyLimits{Message: 4096, Memory: 4 * 4096, Partial: 100})
		for seq := range uint32(20) {
			p := piece(seq, 4096, 0, "abc")
			if _, err := r.Add(&p, 0); err != nil {
				t.Fatal(err)
			}
			if n, memory := r.Pending(); memory > 4*4096 || n > 4 {
				t.Fatalf("%d under way, %d bytes", n, memory)
			}
		}
		if got := r.Stats().Evicted; got != 16 {
			t.Errorf("%d evicted, want 16", got)
		}
	})
	t.Run("no progress for long", func(t *testing.T) {
		r := newReassembler(t, link.ReassemblyLimits{Idle: time.Second})
		p, q := piece(1, 9, 0, "abc"), piece(1, 9, 0, "abc")
		_, _ = r.Add(&p, 0)
		_, _ = r.Add(&q, second-1) // a duplicate is no progress
		if r.Expire(second - 1); r.Stats().Expired != 0 {
			t.Error("expired too early")
		}
		if r.Expire(second); r.Stats().Expired != 1 {
			t.Error("not expired")
		}
		if r.Expire(3 * second); held(r) != 0 {
			t.Errorf("%d spare bytes kept without need", held(r))
		}
	})
	t.Run("too many gaps", func(t *testing.T) {
		r := newReassembler(t, link.ReassemblyLimits{})
		var err error
		for i := uint32(0); i < 100 && err == nil; i++ {
			p := piece(1, 1000, 2*i, "x")
			_, err = r.Add(&p, 0)
		}
		if !errors.Is(err, link.ErrFragment) || r.Stats().Refused != 1 {
			t.Errorf("%v, %+v", err, r.Stats())
		}
	})
	t.Run("reset forgets", func(t *testing.T) {
		r := newReassembler(t, link.ReassemblyLimits{})
		p, q := piece(1, 6, 0, "abc"), piece(1, 6, 3, "def")
		_, _ = r.Add(&p, 0)
		r.Reset()
		if whole, err := r.Add(&q, 0); whole || err != nil {
			t.Errorf("a piece from before the reset counts: %t, %v", whole, err)
		}
	})
	t.Run("kept payload is not used again", func(t *testing.T) {
		r := newReassembler(t, link.ReassemblyLimits{})
		p, q := piece(1, 3, 0, "abc"), piece(2, 3, 0, "xyz")
		_, _ = r.Add(&p, 0)
		r.Keep()
		_, _ = r.Add(&q, 0)
		if string(p.Payload) != "abc" || string(q.Payload) != "xyz" {
			t.Errorf("%q, %q", p.Payload, q.Payload)
		}
	})
	t.Run("several share a budget, and leave each other a part", func(t *testing.T) {
		budget := link.NewReassemblyBudget(8 * 4096)
		limits := link.ReassemblyLimits{Message: 4096, Budget: budget}
		var all []*link.Reassembler
		held := []int{4, 2, 1, 0, 0} // buffers: no more than what it leaves
		for i, want := range held {
			r := newReassembler(t, limits)
			all = append(all, r)
			var err error
			for seq := range uint32(10) {
				p := piece(seq, 4096, 0, "abc")
				_, err = r.Add(&p, 0)
			}
			if got, memory := r.Pending(); memory != want*4096 || got > want || errors.Is(err, link.ErrBudget) != (want == 0) {
				t.Errorf("number %d holds %d vesicles in %d bytes, want %d: %v", i, got, memory, want*4096, err)
			}
		}
		if budget.Held() != 7*4096 {
			t.Errorf("%d bytes held of the budget", budget.Held())
		}
		for _, r := range all {
			r.Close()
		}
		if budget.Held() != 0 {
			t.Errorf("%d bytes held after Close", budget.Held())
		}
	})
	for _, bad := range []link.ReassemblyLimits{
		{Message: -1}, {Message: wire.MaxLength + 1}, {Partial: -1}, {Partial: 5000}, {Ahead: -1}, {Idle: -1}, {Message: 1 << 20, Memory: 1 << 20},
	} {
		if _, err := link.NewReassembler(bad); err == nil {
			t.Errorf("limits %+v are accepted", bad)
		}
	}
}

func held(r *link.Reassembler) int {
	_, memory := r.Pending()
	return memory
}

func TestFragmentsWithoutAllocations(t *testing.T) {
	for _, size := range []int{64, 100_000} {
		a, b := openPipe(t, linktest.PipeConfig{MaxPayload: 2000})
		f, r := newFragmenter(t, a), newReassembler(t, link.ReassemblyLimits{})
		h, payload, in := wire.Header{Kind: wire.KindEvent}, pattern(size, 1), make([]wire.Vesicle, 64)
		wholes := 0
		round := func() {
			if err := errors.Join(f.Send(h, payload), a.Flush()); err != nil {
				t.Fatal(err)
			}
			n, _ := b.Poll(in)
			for i := range in[:n] {
				if whole, _ := r.Add(&in[i], 0); whole {
					wholes++
				}
			}
			_ = b.Release(n)
		}
		round()
		if n := testing.AllocsPerRun(100, round); n != 0 || wholes != 102 {
			t.Errorf("%d bytes: %v allocations, %d of 102 vesicles", size, n, wholes)
		}
	}
}
