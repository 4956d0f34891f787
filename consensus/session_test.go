package consensus_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
	"github.com/cell-runtime/cell/consensus/single"
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

// A command that was lost is executed although more came behind it than are
// remembered.
func TestTheOldestCommandAlwaysRuns(t *testing.T) {
	h := single.New("n")
	defer h.Close()
	g, err := h.Start(t.Context(), consensus.GroupConfig{Name: "g", Replica: 1,
		Members: map[consensus.ReplicaID]consensus.NodeID{1: "n"}, Machines: consensustest.Memory(0)})
	if err != nil {
		t.Fatal(err)
	}
	s := consensus.SessionsOf(g)
	id, err := s.OpenSession(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(consensus.MaxUnanswered + 3) {
		o, want := consensus.Once{Session: id, Sequence: i + 2}, error(nil)
		switch i {
		case consensus.MaxUnanswered: // one too many
			want = consensus.ErrBusy
		case consensus.MaxUnanswered + 1: // the one that was lost
			o.Sequence = 1
		case consensus.MaxUnanswered + 2: // the first ones are answered: there is room again
			o.Sequence, o.Answered = i, 2
		}
		if _, err := s.ProposeOnce(t.Context(), o, consensustest.Command('+', 'a', 1)); !errors.Is(err, want) {
			t.Fatalf("%+v: %v, want %v", o, err, want)
		}
		if i != consensus.MaxUnanswered+1 {
			continue
		}
		var snapshot bytes.Buffer
		f, err := g.Applier().Freeze()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Write(&snapshot), g.Applier().Restore(&snapshot)); err != nil {
			t.Fatalf("a snapshot with all of them: %v", err)
		}
	}
}

// The client's side of it: no more are begun than the group remembers.
func TestCommandsWaitForTheOldest(t *testing.T) {
	lost := make(chan struct{})
	s, err := consensus.OpenSession(t.Context(), scripted(func(o consensus.Once) error {
		if o.Sequence == 1 {
			<-lost
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range consensus.MaxUnanswered { // whichever is first hangs
		all.Go(func() {
			if _, err := s.Propose(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	for s.Begun() < consensus.MaxUnanswered {
		runtime.Gosched()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Propose(ctx, nil); !errors.Is(err, consensus.ErrCanceled) {
		t.Errorf("one more than are remembered: %v", err)
	}
	close(lost)
	all.Wait()
	if _, err := s.Propose(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
