package kv

import (
	"context"
	"sync"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// history is how many events a member remembers for those who watch; one that
// is further behind has to read the store again.
const history = 16 << 10

// hub keeps the last events of this replica. Watchers read from it at their own
// pace, so a slow one costs nothing and holds up nobody.
type hub struct {
	mu     sync.Mutex
	ring   []Event // grows up to history, since most stores change little
	begin  uint64  // the first event that is here
	end    uint64  // how many events there have been
	whole  uint64  // events of revisions above this one are all here
	change chan struct{}
}

func newHub() *hub { return &hub{change: make(chan struct{})} }

func (h *hub) at(i uint64) *Event { return &h.ring[i%uint64(len(h.ring))] }

// publish adds the events of a batch.
func (h *hub) publish(_ uint64, events []Event) {
	if len(events) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		switch here := h.end - h.begin; {
		case here < uint64(len(h.ring)):
		case here < history:
			h.grow()
		default: // the oldest one goes
			h.whole = max(h.whole, h.at(h.begin).Revision)
			h.begin++
		}
		*h.at(h.end) = e
		h.end++
	}
	h.wake()
}

// grow makes room for as many events again.
func (h *hub) grow() {
	old := h.ring
	h.ring = make([]Event, min(history, max(64, 2*len(old))))
	for i := h.begin; i < h.end; i++ {
		*h.at(i) = old[i%uint64(len(old))]
	}
}

func (h *hub) wake() {
	close(h.change)
	h.change = make(chan struct{})
}

// reset is for a state that came from elsewhere: how is not known here.
func (h *hub) reset(revision uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring = nil
	h.end++ // who reads is behind now
	h.begin = h.end
	h.whole = revision
	h.wake()
}

// first returns where the events from a revision on begin.
func (h *hub) first(from uint64) (cursor uint64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if from == 0 {
		return h.end, nil
	}
	if from <= h.whole {
		return 0, rpc.Errorf(wire.StatusOutOfRange, "revisions up to %d are no longer here: read the keys, and watch from the revision of that", h.whole)
	}
	cursor = h.end
	for cursor > h.begin && h.at(cursor-1).Revision >= from {
		cursor--
	}
	return cursor, nil
}

// next copies events from cursor on, waiting for the first.
func (h *hub) next(ctx context.Context, cursor uint64, into []Event) (n int, after uint64, err error) {
	for {
		h.mu.Lock()
		if cursor < h.begin {
			h.mu.Unlock()
			return 0, cursor, rpc.Errorf(wire.StatusAborted, "more than %d changes behind: read the keys, and watch from the revision of that", history)
		}
		for cursor < h.end && n < len(into) {
			into[n] = *h.at(cursor)
			n, cursor = n+1, cursor+1
		}
		change := h.change
		h.mu.Unlock()
		if n > 0 {
			return n, cursor, nil
		}
		select {
		case <-ctx.Done():
			return 0, cursor, ctx.Err()
		case <-change:
		}
	}
}

// matches reports whether the watcher wants an event.
func (r *WatchRequest) matches(e *Event) bool {
	key := string(e.Key)
	switch {
	case r.All:
		return true
	case len(r.End) > 0:
		return key >= string(r.Key) && key < string(r.End)
	}
	return key == string(r.Key)
}
