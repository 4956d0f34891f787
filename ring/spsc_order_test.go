package ring

import (
	"fmt"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

func TestAbortAtEveryPosition(t *testing.T) {
	for committed := range 5 {
		for _, flushed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d of 4 committed, flushed %v", committed, flushed), func(t *testing.T) {
				x := newPair(t, MinSize)
				for range 200 { // over all offsets
					vs := x.claim(4, 300)
					for _, v := range vs {
						content(v.Payload, 0xffffffff)
					}
					x.commit(vs[:committed])
					if flushed {
						x.flush()
					}
					x.p.Abort()
					x.p.Abort() // of nothing
					wants(t, "Commit after Abort", x.p.Commit(vs[:1]), ErrOrder)
					x.commit(x.claim(1, 33))
					x.flush()
					x.receive(append(repeat(300, committed), 33)...)
					x.empty()
				}
			})
		}
	}
}

func TestAbortGivesTheRoomBack(t *testing.T) {
	x := newPair(t, MinSize)
	for range 10 {
		x.claim(MinSize/line-1, 0)
		_, err := x.p.Claim(make([]wire.Vesicle, 1), 0)
		wants(t, "Claim", err, ErrFull)
		x.p.Abort()
	}
	x.send(MinSize/line-1, 0)
	x.receive(repeat(0, MinSize/line-1)...)
}

func TestShortenedPayloads(t *testing.T) {
	x := newPair(t, MinSize)
	for _, size := range []int{0, 40, 41, 1000, maxPayload(MinSize)} {
		for short := 0; short <= size; short += 1 + size/50 {
			vs := x.claim(1, size)
			content(vs[0].Payload, 0xffffffff) // garbage in what is given back
			vs[0].Payload = vs[0].Payload[:short]
			x.commit(vs)
			x.flush()
			x.receive(short)
			x.empty()
		}
	}
}

// The newest claim gives back what it did not use; older ones can't.
func TestShortenedPayloadGivesSpaceBack(t *testing.T) {
	for _, before := range []int{0, 1, 30, 60} {
		x := newPair(t, MinSize)
		for range before {
			x.send(1, 0)
			x.receive(0)
		}
		for range 50 {
			vs := x.claim(2, 800)
			vs[0].Payload, vs[1].Payload = vs[0].Payload[:3], vs[1].Payload[:3]
			content(vs[1].Payload[:800], 0xffffffff)
			x.commit(vs)
			if used := x.p.commit - x.p.flushed; used > 2*spanOf(800)+spanOf(800)-spanOf(800)+MinSize/2 {
				t.Fatalf("%d bytes used", used)
			}
			if x.p.claim != x.p.commit {
				t.Fatalf("claims end at %d, commits at %d", x.p.claim, x.p.commit)
			}
			start := x.p.commit
			more := x.claim(1, 800) // directly behind the short one, which must not break
			more[0].Payload = more[0].Payload[:0]
			x.commit(more)
			if used := x.p.commit - start; used > spanOf(0)+spanOf(800) {
				t.Fatalf("an empty vesicle took %d bytes", used)
			}
			x.flush()
			x.receive(3, 3, 0)
			x.empty()
		}
	}
}

func TestShortenedBetweenOutstandingClaims(t *testing.T) {
	x := newPair(t, MinSize)
	for range 100 {
		first, second := x.claim(1, 600), x.claim(1, 200)
		first[0].Payload = first[0].Payload[:1] // not the newest: keeps its span
		x.commit(first)
		x.flush()
		x.receive(1)
		x.empty()
		x.commit(second)
		x.flush()
		x.receive(200)
		x.empty()
	}
}

func TestMisuse(t *testing.T) {
	for _, v := range []struct {
		name   string
		change func(vs []wire.Vesicle)
		good   int // committed before the fault
	}{
		{"moved", func(vs []wire.Vesicle) { vs[1].Payload = vs[1].Payload[1:] }, 1},
		{"swapped", func(vs []wire.Vesicle) { vs[1], vs[2] = vs[2], vs[1] }, 1},
		{"somewhere else", func(vs []wire.Vesicle) { vs[0].Payload = make([]byte, 100) }, 0},
		{"grown by append", func(vs []wire.Vesicle) { vs[2].Payload = append(vs[2].Payload, 1) }, 2},
	} {
		t.Run(v.name, func(t *testing.T) {
			x := newPair(t, MinSize)
			for range 100 {
				vs := x.claim(3, 100)
				for i := range vs {
					vs[i].Header = header(x.sent + uint32(i))
					content(vs[i].Payload, x.sent+uint32(i))
				}
				whole := append([]wire.Vesicle(nil), vs...)
				v.change(vs)
				wants(t, "Commit", x.p.Commit(vs), ErrOrder)
				x.flush()
				x.sent += uint32(v.good)
				x.receive(repeat(100, v.good)...)
				x.empty()
				// Those from the fault on are still claimed, and may be mended.
				if v.good != 2 || v.name == "grown by append" {
					x.commit(whole[v.good:])
					x.flush()
					x.receive(repeat(100, 3-v.good)...)
				}
				x.empty()
			}
		})
	}
}

func TestCommitOfMoreThanClaimed(t *testing.T) {
	x := newPair(t, MinSize)
	wants(t, "Commit of unclaimed", x.p.Commit(make([]wire.Vesicle, 1)), ErrOrder)
	vs := x.claim(2, 8)
	wants(t, "Commit of one too many", x.p.Commit(append(vs, vs[0])), ErrOrder)
	if err := x.p.Commit(nil); err != nil {
		t.Errorf("Commit of none: %v", err)
	}
	x.flush()
	x.empty() // nothing was changed
	x.commit(vs)
	x.flush()
	x.receive(8, 8)
}

func TestReleaseOfMoreThanPolled(t *testing.T) {
	x := newPair(t, MinSize)
	x.send(3, 8)
	wants(t, "Release of unpolled", x.c.Release(1), ErrOrder)
	x.poll(8, 8, 8)
	for _, n := range []int{4, -1, -1 << 62, 1 << 40, 1 << 32} {
		wants(t, fmt.Sprint("Release of ", n), x.c.Release(n), ErrOrder)
	}
	x.release(3)
	wants(t, "Release again", x.c.Release(1), ErrOrder)
}

// The queue of claims is bounded; when it is full, Claim says so and goes on
// after a commit.
func TestManyDifferentClaims(t *testing.T) {
	x := newPair(t, 1<<20)
	for range 20 {
		var claims []wire.Vesicle
		var sizes []int
		for i := 0; ; i++ {
			vs := make([]wire.Vesicle, 1)
			size := (i % 2) * 100
			if _, err := x.p.Claim(vs, size); err != nil {
				wants(t, "Claim", err, ErrFull)
				break
			}
			claims, sizes = append(claims, vs[0]), append(sizes, size)
			if i > 2*runCount {
				t.Fatal("the queue of claims has no bound")
			}
		}
		if len(claims) < runCount-4 {
			t.Fatalf("only %d claims", len(claims))
		}
		x.commit(claims[:1])
		_, err := x.p.Claim(make([]wire.Vesicle, 1), 50)
		if err != nil && len(claims) < runCount-2 {
			t.Fatalf("Claim after a commit: %v", err)
		}
		if err == nil {
			x.p.Abort()
			x.flush()
			x.receive(sizes[0])
			continue
		}
		x.commit(claims[1:])
		x.flush()
		x.receive(sizes...)
	}
}

// Padding that was published without a record behind it must not stop the
// ring, nor count as unread for ever.
func TestPaddingAlone(t *testing.T) {
	x := newPair(t, MinSize)
	for x.p.claim&x.p.mask != MinSize-line {
		x.send(1, 0)
		x.receive(0)
	}
	vs := x.claim(1, 100) // padding to the end of the memory, then the record
	moved := []wire.Vesicle{{Payload: make([]byte, 100)}}
	wants(t, "Commit", x.p.Commit(moved), ErrOrder)
	x.p.Abort()
	x.flush()
	if x.p.Unread() != line {
		t.Fatalf("%d bytes published, want a line of padding", x.p.Unread())
	}
	x.empty()
	if x.p.Unread() != 0 {
		t.Fatalf("%d bytes of padding unread after Poll", x.p.Unread())
	}
	x.send(1, x.p.MaxPayload())
	x.receive(x.p.MaxPayload())
	_ = vs
}
