//go:build !nodragonboat && !s390x

package raftnode

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A member with hundreds of groups takes much memory while they are made, and Go
// keeps as much again as they have, as room for what is allocated before the next
// collection. Where nothing is, because they rest, that is given back to the host.

const (
	// leanPace is how often that is looked at, and over which time.
	leanPace = 30 * time.Second
	// leanRoom is not worth a collection.
	leanRoom = 16 << 20
)

// heap is what Go's memory looks like at one moment, in bytes.
type heap struct {
	allocated uint64 // since the start
	live      uint64 // what the last collection found
	held      uint64 // what of the host's memory there is for objects
}

func readHeap() heap {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(s)
	return heap{allocated: s[0].Value.Uint64(), live: s[1].Value.Uint64(),
		held: s[2].Value.Uint64() + s[3].Value.Uint64() + s[4].Value.Uint64()}
}

// spares reports whether there is much that isn't used, and won't be soon, by what
// was allocated since before.
func (h heap) spares(before heap) bool {
	return h.allocated-before.allocated < h.live/4 && h.held > h.live+h.live/4+leanRoom
}

// keepLean gives memory back while the member is idle, until ctx ends.
func keepLean(ctx context.Context) {
	t := time.NewTicker(leanPace)
	defer t.Stop()
	for before := readHeap(); ; {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		now := readHeap()
		if now.spares(before) {
			debug.FreeOSMemory()
		}
		before = now
	}
}
