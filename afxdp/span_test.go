package afxdp

import (
	"bytes"
	"testing"
)

func TestFramesOfADatagram(t *testing.T) {
	for name, c := range map[string]struct {
		frame, datagram int
		v6              bool
		want            int
	}{
		"an ordinary MTU":                     {2048, 1472, false, 1},
		"as much as a frame holds":            {4096, longestIn(4096, false), false, 1},
		"one byte more":                       {4096, longestIn(4096, false) + 1, false, 2},
		"as much, over IPv6":                  {4096, longestIn(4096, false), true, 2},
		"a jumbo frame":                       {4096, 8972, false, 3},
		"the longest":                         {4096, maxDatagram, false, 17},
		"longer than can be, in small frames": {2048, maxDatagram, false, maxSpan},
	} {
		if got := spanOf(c.frame, c.datagram, c.v6); got != c.want {
			t.Errorf("%s: %d frames, want %d", name, got, c.want)
		}
	}
}

func TestJoiner(t *testing.T) {
	part := func(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }
	j := newJoiner(2, 2, 100)
	hold := func(queue int, parts ...[]byte) (p []byte, id uint64) {
		t.Helper()
		for i, part := range parts {
			last := i == len(parts)-1
			var done bool
			if p, id, done = j.add(queue, part, !last); done != last {
				t.Fatalf("part %d of %d: done %t", i, len(parts), done)
			}
		}
		return p, id
	}
	// Two queues at once.
	if _, _, done := j.add(0, part(1, 60), true); done {
		t.Fatal("the rest is to come")
	}
	p, id1 := hold(1, part(2, 50), part(3, 50))
	if want := append(part(2, 50), part(3, 50)...); !bytes.Equal(p, want) || id1&joinedFrame == 0 {
		t.Errorf("%d bytes, %#x", len(p), id1)
	}
	q, id0, done := j.add(0, part(4, 1), false)
	if !done || !bytes.Equal(q, append(part(1, 60), 4)) || id0 == id1 {
		t.Errorf("%t, %d bytes, %#x and %#x", done, len(q), id0, id1)
	}
	// All memory is in use, or a packet is wrong: it is lost whole, and the next
	// one is not.
	s := &station{joiner: j}
	lost := func(what string, parts ...[]byte) {
		t.Helper()
		if p, _ := hold(0, parts...); p != nil {
			t.Errorf("%s: %d bytes", what, len(p))
		}
		j = s.joiner
	}
	lost("no memory", part(5, 10), part(5, 10), part(5, 10))
	s.joiner = j
	s.free(id1)
	j = s.joiner
	lost("too long", part(6, 60), part(6, 41), part(6, 10))
	lost("a descriptor that is none", part(7, 60), nil, part(7, 1))
	if p, _ := hold(0, part(8, 60), part(8, 40)); len(p) != 100 {
		t.Errorf("after that: %d bytes", len(p))
	}
	lost("its memory has been taken once only", part(9, 1), part(9, 1))
}
