package consensus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
	"github.com/cell-runtime/cell/consensus/single"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// log makes n commands for a Register at times one second apart.
func log(n int) [][]byte {
	var all [][]byte
	for i := range n {
		all = append(all, consensus.EncodeCommand(consensustest.Command('+', byte(i%7), uint64(i)), time.Unix(int64(i), 0)))
	}
	return all
}

func TestCheckPassesADeterministicMachine(t *testing.T) {
	for name, m := range map[string]consensus.Machines{
		"memory":     consensustest.Memory(0),
		"concurrent": {Concurrent: func() consensus.ConcurrentMachine { return consensustest.NewConcurrent() }},
		"disk":       {Disk: func() consensus.DiskMachine { return consensustest.NewDisk(t.TempDir()) }},
	} {
		if err := consensus.Check(m, log(500), consensus.CheckOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// planted is a Register with a fault that strikes at one entry.
type planted struct {
	*consensustest.Register
	fault func(m *planted, e *consensus.Entry)
	extra []byte // a part of the state
}

func (m *planted) Apply(e *consensus.Entry) {
	m.Register.Apply(e)
	if e.Index == 333 {
		m.fault(m, e)
	}
}

func (m *planted) Snapshot(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%08d%s", len(m.extra), m.extra); err != nil {
		return err
	}
	return m.Register.Snapshot(w)
}

func (m *planted) Restore(r io.Reader) error {
	var n int
	if _, err := fmt.Fscanf(io.LimitReader(r, 8), "%08d", &n); err != nil {
		return err
	}
	m.extra = make([]byte, n)
	if _, err := io.ReadFull(r, m.extra); err != nil {
		return err
	}
	return m.Register.Restore(r)
}

func TestCheckFindsAPlantedFault(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(m *planted, e *consensus.Entry)
		found bool
	}{
		"the wall clock in the result": {func(_ *planted, e *consensus.Entry) { e.Result.Value = uint64(time.Now().UnixNano()) }, true},
		"the wall clock in the state":  {func(m *planted, _ *consensus.Entry) { m.extra = fmt.Append(nil, time.Now().UnixNano()) }, true},
		"the order of a map": {func(m *planted, _ *consensus.Entry) {
			order := make(map[int]bool)
			for i := range 20 {
				order[i] = true
			}
			for i := range order {
				m.extra = fmt.Append(m.extra, i, ",")
			}
		}, true},
		"the log's time":   {func(m *planted, e *consensus.Entry) { m.extra = fmt.Append(nil, e.Time().UnixNano()) }, false},
		"the log's chance": {func(m *planted, e *consensus.Entry) { m.extra = fmt.Append(nil, e.Rand().Uint64()) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := consensus.Machines{Memory: func() consensus.Machine {
				return &planted{Register: consensustest.NewRegister(), fault: c.fault}
			}}
			err := consensus.Check(m, log(400), consensus.CheckOptions{})
			if !c.found {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, consensus.ErrNondeterministic) || !strings.Contains(err.Error(), "entry 332") {
				t.Errorf("got %v, want entry 332 named", err)
			}
		})
	}
}

func TestLogTimeNeverGoesBack(t *testing.T) {
	var seen []int64
	a, err := consensus.NewApplier(1, consensus.Machines{Memory: func() consensus.Machine {
		return &planted{Register: consensustest.NewRegister(), fault: func(*planted, *consensus.Entry) {}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, sec := range []int64{10, 20, 5, 15, 21} {
		raw := [1]consensus.Raw{{Index: uint64(i + 1), Entry: consensus.EncodeCommand(consensustest.Command('+', 'a', 1), time.Unix(sec, 0))}}
		if err := a.Apply(raw[:]); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, a.Position().Time/1e9)
	}
	if got := fmt.Sprint(seen); got != "[10 20 20 20 21]" {
		t.Error(got)
	}
}

func TestSessionSurvivesASnapshot(t *testing.T) {
	h := single.New("n")
	defer h.Close()
	g, err := h.Start(t.Context(), consensus.GroupConfig{Name: "g", Replica: 1,
		Members: map[consensus.ReplicaID]consensus.NodeID{1: "n"}, Machines: consensustest.Memory(0)})
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{p: g}
	s, err := consensus.NewSession(t.Context(), rec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Propose(t.Context(), consensustest.Command('+', 'a', 7)); err != nil {
		t.Fatal(err)
	}
	var snapshot bytes.Buffer
	f, err := g.Applier().Freeze()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write(&snapshot); err != nil {
		t.Fatal(err)
	}
	b, err := consensus.NewApplier(1, consensustest.Memory(0))
	if err != nil {
		t.Fatal(err)
	}
	whole := snapshot.Bytes()
	if err := b.Restore(bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	again := [1]consensus.Raw{{Index: 99, Entry: rec.last}} // a late copy, on another replica
	if err := b.Apply(again[:]); err != nil {
		t.Fatal(err)
	}
	if v, _ := b.Read(byte('a')); v.(uint64) != 7 || again[0].Result.Value != 7 {
		t.Errorf("executed again: %v, %+v", v, again[0].Result)
	}
	for cut := range len(whole) { // any shortened snapshot is refused
		if err := b.Restore(bytes.NewReader(whole[:cut])); err == nil {
			t.Fatalf("a snapshot of %d bytes cut to %d was accepted", len(whole), cut)
		}
	}
}

type recorder struct {
	p    consensus.Proposer
	last []byte
}

func (r *recorder) ProposeEntry(ctx context.Context, entry []byte) (consensus.Result, error) {
	r.last = bytes.Clone(entry)
	return r.p.ProposeEntry(ctx, entry)
}

func TestSessionsPushOutTheOldest(t *testing.T) {
	h := single.New("n")
	defer h.Close()
	g, err := h.Start(t.Context(), consensus.GroupConfig{Name: "g", Replica: 1,
		Members: map[consensus.ReplicaID]consensus.NodeID{1: "n"}, Machines: consensustest.Memory(0)})
	if err != nil {
		t.Fatal(err)
	}
	var first *consensus.Session
	for i := range consensus.MaxSessions + 1 {
		s, err := consensus.NewSession(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = s
		}
	}
	if _, err := first.Propose(t.Context(), consensustest.Command('+', 'a', 1)); !errors.Is(err, consensus.ErrSessionExpired) {
		t.Errorf("the oldest of too many: %v", err)
	}
}

func TestErrorsHaveStatuses(t *testing.T) {
	for err, want := range map[error]wire.Status{
		consensus.ErrNoLeader:    wire.StatusUnavailable,
		consensus.ErrTimeout:     wire.StatusDeadlineExceeded,
		consensus.ErrBusy:        wire.StatusResourceExhausted,
		consensus.ErrDamaged:     wire.StatusDataLoss,
		consensus.ErrNoGroup:     wire.StatusNotFound,
		consensus.ErrClosed:      wire.StatusDraining,
		consensus.ErrCanceled:    wire.StatusCanceled,
		consensus.ErrTooLarge:    wire.StatusTooLarge,
		consensus.ErrConflict:    wire.StatusAborted,
		consensus.ErrConfig:      wire.StatusInvalidArgument,
		consensus.ErrNotMember:   wire.StatusFailedPrecondition,
		consensus.ErrDirectory:   wire.StatusFailedPrecondition,
		consensus.ErrUnsupported: wire.StatusUnimplemented,
	} {
		if got := rpc.StatusOf(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

// FuzzApply: no entry of a log panics, whatever it holds, and two replicas
// make the same of it.
func FuzzApply(f *testing.F) {
	f.Add(log(1)[0])
	f.Add([]byte{3, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{2}, 40))
	f.Fuzz(func(t *testing.T, entry []byte) {
		if err := consensus.Check(consensustest.Memory(0), [][]byte{entry, entry}, consensus.CheckOptions{Every: 1}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzRestore: a snapshot from anywhere is restored or refused.
func FuzzRestore(f *testing.F) {
	a, err := consensus.NewApplier(1, consensustest.Memory(0))
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	s, err := a.Freeze()
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, snapshot []byte) {
		a, err := consensus.NewApplier(1, consensustest.Memory(0))
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Restore(bytes.NewReader(snapshot))
	})
}
