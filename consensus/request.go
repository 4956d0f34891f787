package consensus

import (
	"context"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/consensus/internal/wall"
)

// Propose appends a command to the group's log and returns its result once it
// was committed and applied here. With [ErrTimeout] or [ErrOutcomeUnknown] it
// may have been executed: use a [Session] where that matters.
func Propose(ctx context.Context, g Proposer, command []byte) (Result, error) {
	if err := checkSize(command); err != nil {
		return Result{}, err
	}
	e := borrow()
	defer e.giveBack()
	e.b = appendCommand(e.b, command, wall.Now())
	return g.ProposeEntry(ctx, e.b)
}

// Begin is [Propose] without waiting: many commands of one caller are under
// way at once. Commands begun by one goroutine are executed in that order as
// long as none is lost.
func Begin(g Group, command []byte, timeout time.Duration) (Pending, error) {
	if err := checkSize(command); err != nil {
		return nil, err
	}
	e := borrow()
	defer e.giveBack()
	e.b = appendCommand(e.b, command, wall.Now())
	return g.Begin(e.b, timeout)
}

// Query is a linearizable read: its answer contains every write that was
// acknowledged before the call, by whichever node.
func Query(ctx context.Context, g Group, query any) (any, error) {
	a := g.Applier()
	if a == nil {
		return nil, fmt.Errorf("%w: a witness has no state to read: ask another member", ErrUnsupported)
	}
	if err := g.ReadIndex(ctx); err != nil {
		return nil, err
	}
	return a.Read(query)
}

// QueryStale reads what this replica has, without asking anyone, if that is no
// older than maxAge; else it becomes [Query]. It returns how old the answer may
// be at most, which is 0 after a Query. maxAge below 0 accepts any age.
//
// The age is counted from the last entry that was applied here, by the clock
// of the node that proposed it, or from the last
// linearizable read through this replica, whichever is later.
func QueryStale(ctx context.Context, g Group, query any, maxAge time.Duration) (answer any, age time.Duration, err error) {
	a := g.Applier()
	if a == nil {
		return nil, 0, fmt.Errorf("%w: a witness has no state to read: ask another member", ErrUnsupported)
	}
	age = a.Age()
	if maxAge >= 0 && age > maxAge {
		answer, err = Query(ctx, g, query)
		return answer, 0, err
	}
	answer, err = a.Read(query)
	return answer, age, err
}

// TakeDigest has every replica of the group compute the digest of its state at
// one index, and returns this one's. The others' are in their [Status].
func TakeDigest(ctx context.Context, g Proposer) (Digest, error) {
	r, err := g.ProposeEntry(ctx, EncodeDigest(wall.Now()))
	if err != nil {
		return Digest{}, err
	}
	d := Digest{Index: r.Value}
	if copy(d.Sum[:], r.Data) != len(d.Sum) {
		return Digest{}, fmt.Errorf("%w: a digest of %d bytes", ErrDamaged, len(r.Data))
	}
	return d, nil
}
