package main

import (
	"context"
	"sync"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/dragonboat"
	"github.com/cell-runtime/cell/consensus/replicated"
	"github.com/cell-runtime/cell/examples/raft/ledger"
)

// lazily opens a session for each group at its first use.
type lazily struct {
	mu sync.Mutex
	of map[int]*consensus.Session
}

func (l *lazily) get(ctx context.Context, g int, p consensus.Proposer) (*consensus.Session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.of[g]; s != nil {
		return s, nil
	}
	s, err := consensus.NewSession(ctx, p)
	if err == nil {
		l.of[g] = s
	}
	return s, err
}

// typedReplicas have the ledger of examples/raft in each group: a request is
// encoded by its schema, sent in a session, decoded by the machine, and its
// reply decoded by the caller. The command has about 24 bytes, whatever --size.
type typedReplicas struct {
	*cellReplicas
	methods  *replicated.Methods[*ledger.Book]
	sessions *lazily
}

func openCellTyped(s setup) (replicas, error) {
	ms := ledger.Methods()
	c, err := newCellWith(s, dragonboat.Pebble, nil, func(int) consensus.Machines { return ms.Machines() })
	if err != nil {
		return nil, err
	}
	return &typedReplicas{c, ms, &lazily{of: map[int]*consensus.Session{}}}, nil
}

func (t *typedReplicas) propose(ctx context.Context, g int, _ []byte) error {
	s, err := t.sessions.get(ctx, g, t.groups[g])
	if err != nil {
		return err
	}
	command, err := t.methods.Command("Deposit", &ledger.Deposit{Name: "alice", Amount: 1})
	if err != nil {
		return err
	}
	r, err := s.Propose(ctx, command)
	if err != nil {
		return err
	}
	var b ledger.Balance
	return b.DecodeCell(r.Data)
}

func (t *typedReplicas) begin(int, []byte) (pending, error) { return nil, errNotThere }

// read has nothing typed about it in process.
func (t *typedReplicas) read(context.Context, int) error { return errNotThere }
