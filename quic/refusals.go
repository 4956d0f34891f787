package quic

import (
	"fmt"
	"sync"
	"time"
)

const (
	// refusalsRate and refusalsBurst bound what Options.Refused is told: whoever
	// is turned away chooses how often.
	refusalsRate, refusalsBurst = 16, 64
)

// refusals tell of peers that were refused.
type refusals struct {
	tell func(addr string, why error) // nil: nobody

	mu     sync.Mutex
	spare  bucket
	untold int
}

func (r *refusals) add(addr string, why error) {
	if r.tell == nil {
		return
	}
	now := time.Now()
	r.mu.Lock()
	if r.spare.rate == 0 {
		r.spare = newBucket(refusalsRate, refusalsBurst, now)
	}
	told, untold := r.spare.take(1, now), r.untold
	if told {
		r.untold = 0
	} else {
		r.untold++
	}
	r.mu.Unlock()
	switch {
	case told && untold > 0:
		r.tell(addr, fmt.Errorf("%w (and %d others since the last that was told)", why, untold))
	case told:
		r.tell(addr, why)
	}
}
