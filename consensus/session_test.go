package consensus_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cell-runtime/cell/consensus"
)

// scripted are sessions whose answers a test gives.
type scripted func(consensus.Once) error

func (f scripted) OpenSession(context.Context) (uint64, error) { return 1, nil }
func (f scripted) CloseSession(context.Context, uint64) error  { return nil }
func (f scripted) ProposeOnce(_ context.Context, o consensus.Once, _ []byte) (consensus.Result, error) {
	return consensus.Result{}, f(o)
}

// What an attempt without answer may have brought about is never "not executed".
func TestALaterRefusalDoesNotHideAnOpenAttempt(t *testing.T) {
	for name, c := range map[string]struct {
		attempts []error // the last one ends ctx, if it is worth repeating
		want     error
		not      error
	}{
		"lost, then no leader":       {[]error{consensus.ErrTimeout, consensus.ErrNoLeader}, consensus.ErrCanceled, consensus.ErrNoLeader},
		"stopped, then busy":         {[]error{consensus.ErrOutcomeUnknown, consensus.ErrNoLeader, consensus.ErrBusy}, consensus.ErrCanceled, consensus.ErrBusy},
		"lost, then closed":          {[]error{consensus.ErrTimeout, consensus.ErrClosed}, consensus.ErrOutcomeUnknown, consensus.ErrClosed},
		"never a leader":             {[]error{consensus.ErrNoLeader, consensus.ErrNoLeader}, consensus.ErrNoLeader, consensus.ErrOutcomeUnknown},
		"busy, then closed":          {[]error{consensus.ErrBusy, consensus.ErrClosed}, consensus.ErrClosed, consensus.ErrOutcomeUnknown},
		"lost, then expired":         {[]error{consensus.ErrTimeout, consensus.ErrSessionExpired}, consensus.ErrSessionExpired, consensus.ErrOutcomeUnknown},
		"lost, then executed before": {[]error{consensus.ErrTimeout, nil}, nil, consensus.ErrTimeout},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		s, err := consensus.OpenSession(ctx, scripted(func(consensus.Once) error {
			if n++; n == len(c.attempts) && !errors.Is(c.attempts[n-1], consensus.ErrClosed) {
				cancel()
			}
			return c.attempts[n-1]
		}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Propose(ctx, nil); !errors.Is(err, c.want) || errors.Is(err, c.not) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}
