//go:build !nodragonboat && !s390x

package dragonboat

import (
	"io"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/cell-runtime/cell/consensus"
)

// An error that a machine returns here ends the process: dragonboat knows no
// other way, and a replica that can't apply must not go on.

// memory is a [consensus.Machine] as dragonboat sees it.
type memory struct {
	a   *consensus.Applier
	one [1]consensus.Raw // of Update, which is never called twice at once
}

func (m *memory) Update(e statemachine.Entry) (statemachine.Result, error) {
	m.one[0] = consensus.Raw{Index: e.Index, Entry: e.Cmd}
	err := m.a.Apply(m.one[:])
	r := statemachine.Result(m.one[0].Result)
	m.one[0] = consensus.Raw{} // keeps nothing of the log alive
	return r, err
}

func (m *memory) Lookup(query any) (any, error) { return m.a.Read(query) }
func (m *memory) Close() error                  { return m.a.Close() }

func (m *memory) SaveSnapshot(w io.Writer, _ statemachine.ISnapshotFileCollection, stop <-chan struct{}) error {
	f, err := m.a.Freeze()
	if err != nil {
		return err
	}
	return writeFrozen(f, w, stop)
}

func (m *memory) RecoverFromSnapshot(r io.Reader, _ []statemachine.SnapshotFile, stop <-chan struct{}) error {
	return restore(m.a, r, stop)
}

// batches is what kinds that apply in batches share.
type batches struct{ a *consensus.Applier }

func (m batches) Update(entries []statemachine.Entry) ([]statemachine.Entry, error) {
	raws := make([]consensus.Raw, len(entries))
	for i := range entries {
		raws[i] = consensus.Raw{Index: entries[i].Index, Entry: entries[i].Cmd}
	}
	err := m.a.Apply(raws)
	for i := range entries {
		entries[i].Result = statemachine.Result(raws[i].Result)
	}
	return entries, err
}

func (m batches) Lookup(query any) (any, error) { return m.a.Read(query) }
func (m batches) PrepareSnapshot() (any, error) { return m.a.Freeze() }
func (m batches) Close() error                  { return m.a.Close() }

// concurrent is a [consensus.ConcurrentMachine].
type concurrent struct{ batches }

func (m concurrent) SaveSnapshot(state any, w io.Writer, _ statemachine.ISnapshotFileCollection, stop <-chan struct{}) error {
	return writeFrozen(state.(consensus.Frozen), w, stop)
}

func (m concurrent) RecoverFromSnapshot(r io.Reader, _ []statemachine.SnapshotFile, stop <-chan struct{}) error {
	return restore(m.a, r, stop)
}

// disk is a [consensus.DiskMachine].
type disk struct{ batches }

func (m disk) Open(<-chan struct{}) (uint64, error) { return m.a.Open() }
func (m disk) Sync() error                          { return m.a.Sync() }

func (m disk) SaveSnapshot(state any, w io.Writer, stop <-chan struct{}) error {
	return writeFrozen(state.(consensus.Frozen), w, stop)
}

func (m disk) RecoverFromSnapshot(r io.Reader, stop <-chan struct{}) error {
	return restore(m.a, r, stop)
}

func writeFrozen(f consensus.Frozen, w io.Writer, stop <-chan struct{}) error {
	defer f.Release()
	s := &stoppable{w: w, stop: stop}
	err := f.Write(s)
	if s.stopped {
		return statemachine.ErrSnapshotStopped
	}
	return err
}

func restore(a *consensus.Applier, r io.Reader, stop <-chan struct{}) error {
	s := &stoppable{r: r, stop: stop}
	err := a.Restore(s)
	if s.stopped {
		return statemachine.ErrSnapshotStopped
	}
	return err
}

// stoppable fails once the replica is being stopped, so that a long snapshot
// does not hold it up.
type stoppable struct {
	w       io.Writer
	r       io.Reader
	stop    <-chan struct{}
	stopped bool
}

func (s *stoppable) check() error {
	select {
	case <-s.stop:
		s.stopped = true
		return statemachine.ErrSnapshotStopped
	default:
		return nil
	}
}

func (s *stoppable) Write(b []byte) (int, error) {
	if err := s.check(); err != nil {
		return 0, err
	}
	return s.w.Write(b)
}

func (s *stoppable) Read(b []byte) (int, error) {
	if err := s.check(); err != nil {
		return 0, err
	}
	return s.r.Read(b)
}
