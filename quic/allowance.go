package quic

import (
	"sync"
	"sync/atomic"
)

// allowance bounds the bytes that all lanes to one peer hold back together, since
// it can have many and grant none of them a window. A nil allowance has no bound.
type allowance struct {
	most int64
	used atomic.Int64

	crowded atomic.Bool // links wait
	mu      sync.Mutex
	waiting map[*Link]struct{}
}

// take takes n bytes, in any case or if there are so many. If not, the link is
// rung when there may be.
func (a *allowance) take(l *Link, n int, anyway bool) bool {
	if a == nil {
		return true
	}
	if anyway {
		a.used.Add(int64(n))
		return true
	}
	if a.try(n) {
		return true
	}
	// The mark comes before the last look, and give's look for it after it has
	// given: one of the two sees the other.
	a.mu.Lock()
	if a.waiting == nil {
		a.waiting = make(map[*Link]struct{})
	}
	a.waiting[l] = struct{}{}
	a.crowded.Store(true)
	a.mu.Unlock()
	return a.try(n)
}

func (a *allowance) try(n int) bool {
	for {
		used := a.used.Load()
		if used+int64(n) > a.most {
			return false
		}
		if a.used.CompareAndSwap(used, used+int64(n)) {
			return true
		}
	}
}

// give gives n bytes back.
func (a *allowance) give(n int) {
	if a == nil || n == 0 {
		return
	}
	a.used.Add(-int64(n))
	if !a.crowded.Load() {
		return
	}
	a.mu.Lock()
	waiting := a.waiting
	a.waiting = nil
	a.crowded.Store(false)
	a.mu.Unlock()
	for l := range waiting {
		l.space.notify()
	}
}
