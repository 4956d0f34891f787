package consensus

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Entry is one command of the log, as a machine applies it.
type Entry struct {
	// Index is the entry's position in the log; it grows, with gaps.
	Index uint64
	// Command is what was proposed. It belongs to the log: copy what is kept.
	Command []byte
	// Result is what the proposer gets; the machine sets it.
	Result Result

	time int64
	seed uint64
}

// Result is the outcome of a command.
type Result struct {
	Value uint64
	// Data belongs to the log once it was returned.
	Data []byte
}

// Time is the log's time: the same on every replica, never decreasing. It is
// the wall clock of the node that proposed, or the time of the entry before
// where that is later. A node whose clock is ahead takes the log with it; the
// machine must not read a clock of its own.
func (e *Entry) Time() time.Time { return time.Unix(0, e.time) }

// Rand returns numbers that are the same on every replica and differ from
// entry to entry. They are no secret.
func (e *Entry) Rand() *rand.Rand { return rand.New(rand.NewPCG(e.seed, e.Index)) }

// Machine is a state machine in memory. Its methods are never called at the
// same time, but Read beside Read and beside Snapshot.
type Machine interface {
	// Apply executes a command and sets e.Result. It must be deterministic and
	// must accept any bytes: what can't be understood is refused in Result.
	Apply(e *Entry)
	// Read answers a query without changing anything.
	Read(query any) (any, error)
	// Snapshot writes the whole state, in an order that depends on the state
	// alone (maps sorted), so that equal states have equal snapshots.
	Snapshot(w io.Writer) error
	// Restore replaces the whole state by what Snapshot wrote.
	Restore(r io.Reader) error
}

// Frozen is a state at one point of the log, which stays as it was while the
// machine goes on.
type Frozen interface {
	// Write writes it as [Machine.Snapshot] would; at the same time as Apply.
	Write(w io.Writer) error
	// Release is called once, when it is no longer needed.
	Release()
}

// ConcurrentMachine is a machine in memory that goes on while a snapshot of it
// is written. Read is called beside everything else: it needs a lock of the
// machine's own. All other methods exclude each other.
type ConcurrentMachine interface {
	// Apply executes commands in order and sets each one's Result.
	Apply(batch []Entry)
	Read(query any) (any, error)
	// Freeze returns the state as it is now. It should be quick.
	Freeze() (Frozen, error)
	Restore(r io.Reader) error
}

// Position is how far a machine with storage of its own has come.
type Position struct {
	Index uint64
	// Time is the log's time there, in ns since 1970.
	Time int64
}

// DiskMachine keeps its state in storage of its own, and tells after a restart
// how far it had come. Calls are as for [ConcurrentMachine].
//
// It may be ahead of its last Sync by as many entries as it likes, but never
// with a gap: if entry N is there after a crash, so is all before it. After
// Sync has returned, nothing applied before may be lost. A machine that breaks
// this can't be started again, and a new replica has to take its place.
type DiskMachine interface {
	// Open returns the position of the last entry that is there, or zero.
	Open() (Position, error)
	// Apply executes commands in order, sets each one's Result, and stores
	// Position{Index, Time} of the last one together with their effects.
	Apply(batch []Entry) error
	// Skip stores p, as Apply would, for an entry without any effect: one of
	// those that the log itself uses, or that nobody understands.
	Skip(p Position) error
	Read(query any) (any, error)
	// Sync makes everything applied so far durable.
	Sync() error
	// Freeze returns the state as it is now, its position included.
	Freeze() (Frozen, error)
	// Restore replaces the state and the position, durably.
	Restore(r io.Reader) error
	Close() error
}

// PositionOf returns the position that a [DiskMachine] stores with e.
func PositionOf(e *Entry) Position { return Position{Index: e.Index, Time: e.time} }

// Machines makes the machine of a group, one for each replica. Exactly one
// field is set.
type Machines struct {
	Memory     func() Machine
	Concurrent func() ConcurrentMachine
	Disk       func() DiskMachine
}

// Kind is where a machine keeps its state and what may happen at once.
type Kind uint8

// The kinds.
const (
	KindMemory Kind = iota + 1
	KindConcurrent
	KindDisk
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case KindMemory:
		return "memory"
	case KindConcurrent:
		return "concurrent"
	case KindDisk:
		return "disk"
	}
	return "unknown"
}

// Kind returns which field is set; the error wraps [ErrConfig].
func (m Machines) Kind() (Kind, error) {
	kind, set := Kind(0), 0
	if m.Memory != nil {
		kind, set = KindMemory, set+1
	}
	if m.Concurrent != nil {
		kind, set = KindConcurrent, set+1
	}
	if m.Disk != nil {
		kind, set = KindDisk, set+1
	}
	if set != 1 {
		return 0, fmt.Errorf("%w: %d kinds of machine are set, there must be one", ErrConfig, set)
	}
	return kind, nil
}
