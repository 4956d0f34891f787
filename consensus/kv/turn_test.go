package kv

import (
	"context"
	"errors"
	"testing"

	"github.com/cell-runtime/cell/consensus"
)

// leaderless is a group that opens no session until a caller gives up.
type leaderless struct {
	consensus.Group
	asked chan struct{}
}

func (l leaderless) ProposeEntry(ctx context.Context, _ []byte) (consensus.Result, error) {
	select {
	case l.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return consensus.Result{}, consensus.ContextError(ctx)
}

// Who waits for a session that somebody else opens waits no longer than its own
// context lasts.
func TestWaitingForASessionEndsWithTheContext(t *testing.T) {
	group := leaderless{asked: make(chan struct{}, 1)}
	s := &Service{group: group, opening: newTurn()}
	patient, giveUp := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := s.Put(patient, PutRequest{Key: []byte("k")})
		first <- err
	}()
	<-group.asked // it has the turn
	hasty, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(hasty, PutRequest{Key: []byte("k")}); !errors.Is(err, consensus.ErrCanceled) {
		t.Errorf("the second caller: %v", err)
	}
	select {
	case err := <-first:
		t.Errorf("the first caller has not waited: %v", err)
	default:
	}
	giveUp()
	if err := <-first; !errors.Is(err, consensus.ErrCanceled) {
		t.Errorf("the first caller: %v", err)
	}
}
