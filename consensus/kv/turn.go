package kv

import (
	"context"

	"github.com/cell-runtime/cell/consensus"
)

// turn is a lock for what takes long, such as opening a session where there is
// no leader: who waits for it waits no longer than its own context lasts.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the turn. Error: consensus.ErrTimeout or consensus.ErrCanceled.
func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return consensus.ContextError(ctx)
	}
}

func (t turn) give() { <-t }
