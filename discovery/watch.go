package discovery

import (
	"context"
	"sync"
)

// Watcher tells of peers that come, change and go. For a peer of which several
// things happened since it was last asked, it tells the last, so that a watcher
// that is slow misses steps and never the state.
type Watcher struct {
	mu      sync.Mutex
	order   []ID
	news    map[ID]Event
	told    map[ID]bool // peers that the watcher believes to be there
	ready   chan struct{}
	stopped func()
}

func newWatcher() *Watcher {
	return &Watcher{news: make(map[ID]Event), told: make(map[ID]bool), ready: make(chan struct{}, 1)}
}

func (w *Watcher) add(e Event) {
	w.mu.Lock()
	id := e.Peer.ID
	if _, there := w.news[id]; !there {
		w.order = append(w.order, id)
	}
	w.news[id] = e
	w.mu.Unlock()
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// take returns the oldest news that are any to the watcher.
func (w *Watcher) take() (Event, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.order) > 0 {
		id := w.order[0]
		w.order = w.order[1:]
		e := w.news[id]
		delete(w.news, id)
		switch was := w.told[id]; {
		case e.Kind.Gone():
			if delete(w.told, id); !was {
				continue // came and went meanwhile
			}
		case was:
			e.Kind = Changed
		default:
			e.Kind = Found
			w.told[id] = true
		}
		return e, true
	}
	return Event{}, false
}

// Next waits for news. The first ones are the peers that are there already. The
// error is that of ctx.
func (w *Watcher) Next(ctx context.Context) (Event, error) {
	for {
		if e, ok := w.take(); ok {
			return e, nil
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// Close ends the watching.
func (w *Watcher) Close() { w.stopped() }
