//go:build !nodragonboat && !s390x

package dragonboat

import (
	"sync"

	"github.com/lni/dragonboat/v4/raftio"
)

// leaderWatch wakes who waits for a change of leaders.
type leaderWatch struct {
	mu     sync.Mutex
	change chan struct{}
}

func newLeaderWatch() *leaderWatch { return &leaderWatch{change: make(chan struct{})} }

// LeaderUpdated implements raftio.IRaftEventListener.
func (w *leaderWatch) LeaderUpdated(raftio.LeaderInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.change)
	w.change = make(chan struct{})
}

// changed returns a channel that is closed at the next change.
func (w *leaderWatch) changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.change
}
