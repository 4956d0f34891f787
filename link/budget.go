package link

import (
	"errors"
	"sync/atomic"
)

// ErrBudget: vesicles in pieces of all links together hold as much memory as they
// may, or this link its share of it. The vesicle is dropped.
var ErrBudget = errors.New("link: the memory for vesicles in pieces is used up (ReassemblyLimits.Budget)")

// ReassemblyBudget bounds the memory of any number of [Reassembler]s together,
// each of which may be used by another goroutine. One of them may take no more
// than it leaves to the others: of n links that take all they can, each gets the
// n+1st part, and so much is left for whoever comes.
type ReassemblyBudget struct {
	limit int64
	held  atomic.Int64
}

// NewReassemblyBudget returns a budget of so many bytes. A link that is alone may
// take half of it.
func NewReassemblyBudget(bytes int64) *ReassemblyBudget { return &ReassemblyBudget{limit: bytes} }

// Held returns how many bytes are held now.
func (b *ReassemblyBudget) Held() int64 {
	if b == nil {
		return 0
	}
	return b.held.Load()
}

// take takes n bytes for a Reassembler that holds own. A nil budget has no bound.
func (b *ReassemblyBudget) take(n, own int) bool {
	if b == nil {
		return true
	}
	now := b.held.Add(int64(n))
	if now > b.limit || int64(own+n) > b.limit-now {
		b.held.Add(-int64(n))
		return false
	}
	return true
}

func (b *ReassemblyBudget) give(n int) {
	if b != nil {
		b.held.Add(-int64(n))
	}
}
