package quic

import (
	"bytes"
	"runtime"
	"testing"
)

func TestBuffersHoldWhatIsPutIn(t *testing.T) {
	for name, c := range map[string]struct{ has, more, most int }{
		"little":                  {10, 10, leastBuffer},
		"up to what a lane keeps": {4 << 10, 4 << 10, leastBuffer},
		"more than that":          {8 << 10, 1, leastBuffer},
		"all of the least":        {8 << 10, 8 << 10, leastBuffer},
		"one more than the least": {8 << 10, 8<<10 + 1, 2 * leastBuffer},
		"all of a backlog":        {200 << 10, 56 << 10, backlogMost},
		"more than a backlog is":  {0, 1 << 20, 2 << 20},
	} {
		old := append([]byte(nil), bytes.Repeat([]byte{7}, c.has)...)
		b := withRoom(old, c.more)
		if len(b) != c.has || cap(b) < c.has+c.more || cap(b) > c.most || bytes.Count(b, []byte{7}) != c.has {
			t.Errorf("%s: %d bytes in %d", name, len(b), cap(b))
		}
		b = append(b, make([]byte, c.more)...)
		if b = emptied(b); len(b) != 0 || cap(b) > keptMost {
			t.Errorf("%s: a lane without a backlog keeps %d bytes", name, cap(b))
		}
	}
}

// A lane that has a backlog again and again needs no new buffers for it: links of
// bulk spent most of their time on making them.
func TestBuffersAreUsedAgain(t *testing.T) {
	const rounds = 200
	frames := make([]byte, 64<<10)
	var b []byte
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		b = append(withRoom(b, len(frames)), frames...)
		b = emptied(b)
	}
	runtime.ReadMemStats(&after)
	// The collector may take some, and the race detector has a part thrown away.
	if made := (after.TotalAlloc - before.TotalAlloc) / rounds; made > uint64(len(frames))/2 {
		t.Errorf("%d bytes are made for a backlog of %d", made, len(frames))
	}
}
