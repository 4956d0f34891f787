package adapter

import (
	"sync"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
)

// sharedTally is a tally for servers that take messages on several goroutines.
type sharedTally struct {
	mu sync.Mutex
	t  peer.Tally
}

func (s *sharedTally) add(message []byte) {
	sum := peer.Touch(message)
	s.mu.Lock()
	s.t.Count++
	s.t.Sum += sum
	s.mu.Unlock()
}

func (s *sharedTally) get() peer.Tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.t
}
