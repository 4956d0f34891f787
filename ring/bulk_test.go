package ring

import (
	"bytes"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

func TestSpansHoldTheirPayloads(t *testing.T) {
	for n := 0; n < 4*bulkSpan; n++ {
		span := spanOf(n)
		if span%line != 0 || roomOf(span) < n {
			t.Fatalf("a payload of %d bytes gets a span of %d, which has room for %d", n, span, roomOf(span))
		}
		if span > line && roomOf(span-line) >= n {
			t.Fatalf("a payload of %d bytes gets a span of %d, and would fit %d", n, span, span-line)
		}
		for _, claimed := range []uint64{span, bulkSpan, 8 * bulkSpan} {
			if claimed < span {
				continue
			}
			got := shortened(claimed, n)
			if got > claimed || roomOf(got) < n || shiftOf(got) != shiftOf(claimed) {
				t.Fatalf("a claim of span %d, shortened to %d bytes, becomes one of %d", claimed, n, got)
			}
		}
	}
}

// The place of a payload is part of the format: a record of 1 KiB begins it on
// the second line, one of less 24 bytes behind its beginning.
func TestWherePayloadsBegin(t *testing.T) {
	if mirrored {
		t.Skip("payloads are handed out as copies under the tag invariants")
	}
	x, f := newPair(t, 64<<10), newFan(t, 64<<10)
	p := f.producer(0)
	var v [1]wire.Vesicle
	for _, size := range []int{1, 40, 41, bulkSpan - line - prefixSize, bulkSpan - 2*line, bulkSpan - line, 5000} {
		want := prefixSize
		if spanOf(size) >= bulkSpan {
			want = line
		}
		for _, side := range []struct {
			kind  string
			mem   arena
			claim func([]wire.Vesicle, int) (int, error)
			pos   uint64
			abort func()
		}{
			{"SPSC", x.near.data, x.p.Claim, x.p.claim, x.p.Abort},
			{"MPSC", p.data, p.Claim, *p.tail, p.Abort},
		} {
			if _, err := side.claim(v[:], size); err != nil {
				t.Fatal(err)
			}
			if at := side.pos & x.p.mask; &v[0].Payload[0] != &side.mem.bytes(at+uint64(want), 1)[0] {
				t.Errorf("%s: a payload of %d bytes does not begin at %d of its record", side.kind, size, want)
			}
			side.abort()
		}
	}
}

func TestShortenedBulkArrives(t *testing.T) {
	x := newPair(t, 64<<10)
	var v [1]wire.Vesicle
	for _, c := range []struct{ claimed, used int }{{5000, 5000}, {5000, 3}, {5000, 0}, {bulkSpan, 900}, {bulkSpan, 990}, {20000, 1100}, {100, 1}} {
		if _, err := x.p.Claim(v[:], c.claimed); err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte{byte(c.used)}, c.used)
		v[0].Header, v[0].Payload = header(1), v[0].Payload[:c.used]
		copy(v[0].Payload, want)
		if err := x.p.Commit(v[:]); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if err := x.p.Flush(); err != nil {
			t.Fatal(err)
		}
		if n, err := x.c.Poll(v[:]); n != 1 || err != nil || !bytes.Equal(v[0].Payload, want) {
			t.Fatalf("%+v: Poll: %d, %v, %d bytes", c, n, err, len(v[0].Payload))
		}
		if err := x.c.Release(1); err != nil {
			t.Fatal(err)
		}
	}
}
