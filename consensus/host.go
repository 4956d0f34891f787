package consensus

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// NodeID names a node for good, wherever it is: with mutual TLS, its key.
type NodeID string

// ReplicaID numbers the replicas of one group, from 1. A number is used once:
// a replica that has lost its data, or was removed, comes back under another.
type ReplicaID uint64

// GroupID is what a group is called on the wire and on disk.
type GroupID uint64

// GroupIDOf returns the id of a group's name: the first 8 bytes, little endian,
// of SHA-256 over "cell group 1 " and the name.
func GroupIDOf(name string) GroupID {
	sum := sha256.Sum256([]byte("cell group 1 " + name))
	return GroupID(max(1, binary.LittleEndian.Uint64(sum[:])))
}

// Role is what a replica may do in its group.
type Role uint8

// The roles.
const (
	// Voter has a vote and the state; it may lead.
	Voter Role = iota
	// NonVoter has the state, and no vote: it reads, or catches up before it
	// becomes a voter.
	NonVoter
	// Witness has a vote, and neither state nor commands: a tie-breaker that
	// costs nothing. It can't propose, read or lead.
	Witness
)

// String names the role.
func (r Role) String() string {
	switch r {
	case Voter:
		return "voter"
	case NonVoter:
		return "non-voter"
	case Witness:
		return "witness"
	}
	return "unknown"
}

// Member is one replica of a group, as the group knows it.
type Member struct {
	Replica ReplicaID
	Node    NodeID
	Role    Role
}

// GroupConfig starts a replica of a group on a node.
type GroupConfig struct {
	// Name is the group's, up to 128 bytes; its id follows from it.
	Name string
	// Replica is this node's number in the group.
	Replica ReplicaID
	// Members are the group's first members, the same on each of them, all
	// voters. It is needed for the first start only, and empty with Join.
	Members map[ReplicaID]NodeID
	// Join: the group exists, and has added this replica, or will.
	Join bool
	// Role is this replica's; members of the first hour are voters.
	Role Role
	// Machines makes the state machine.
	Machines Machines
	// SnapshotEntries is after how many entries the log is compacted: a
	// snapshot is taken and what it covers deleted. Default 100,000.
	SnapshotEntries uint64
	// KeepEntries are left in the log behind a snapshot, for members that are
	// a little behind; one that is further behind gets the snapshot. Default
	// 10,000, at most SnapshotEntries.
	KeepEntries uint64
	// MaxPending is how many bytes of entries may wait to be applied; more are
	// refused with [ErrBusy]. Default 256 MiB.
	MaxPending uint64
}

const (
	maxName                = 128
	defaultSnapshotEntries = 100_000
	defaultKeepEntries     = 10_000
	defaultMaxPending      = 256 << 20
)

// SetDefaults fills in what is zero and refuses what can't be right, with an
// error that wraps [ErrConfig].
func (c *GroupConfig) SetDefaults() error {
	if c.SnapshotEntries == 0 {
		c.SnapshotEntries = defaultSnapshotEntries
	}
	if c.KeepEntries == 0 {
		c.KeepEntries = min(defaultKeepEntries, c.SnapshotEntries)
	}
	if c.MaxPending == 0 {
		c.MaxPending = defaultMaxPending
	}
	switch {
	case c.Name == "" || len(c.Name) > maxName:
		return fmt.Errorf("%w: a group's name has 1 to %d bytes, not %d", ErrConfig, maxName, len(c.Name))
	case c.Replica == 0:
		return fmt.Errorf("%w: group %q: replicas are numbered from 1", ErrConfig, c.Name)
	case c.Join && len(c.Members) > 0:
		return fmt.Errorf("%w: group %q: who joins learns the members from the group; leave Members empty", ErrConfig, c.Name)
	case c.Role != Voter && len(c.Members) > 0:
		return fmt.Errorf("%w: group %q: the first members are voters; a %v joins later", ErrConfig, c.Name, c.Role)
	case c.KeepEntries > c.SnapshotEntries:
		return fmt.Errorf("%w: group %q: KeepEntries %d above SnapshotEntries %d", ErrConfig, c.Name, c.KeepEntries, c.SnapshotEntries)
	}
	if len(c.Members) > 0 && c.Members[c.Replica] == "" {
		return fmt.Errorf("%w: group %q: replica %d is not among its first members", ErrConfig, c.Name, c.Replica)
	}
	if c.Role == Witness {
		return nil
	}
	_, err := c.Machines.Kind()
	return err
}

// Host runs replicas on a node, those of one group at most once.
type Host interface {
	// Node is the node's id.
	Node() NodeID
	// Start starts a replica, new or as it was left, and returns when it has
	// replayed its log, before there is a leader perhaps.
	Start(ctx context.Context, c GroupConfig) (Group, error)
	// Group returns the group of that name; the error wraps [ErrNoGroup].
	Group(name string) (Group, error)
	// Groups are those that run here, by name.
	Groups() []Group
	// Stop stops a replica; its data stays.
	Stop(name string) error
	// Remove stops a replica and deletes its data, for good: its number can't
	// come back. The group must have removed it before.
	Remove(ctx context.Context, name string) error
	// Close stops everything.
	Close() error
}

// Group is this node's replica of a group, and through it the group. Every
// method may be called from any goroutine. A context without deadline gets one
// of [DefaultTimeout]. It need not be the leader: requests find it.
type Group interface {
	Proposer
	Name() string
	Replica() ReplicaID
	// Begin appends an entry without waiting: pipelining. At the latest after
	// timeout the [Pending] has an answer. The entry is the caller's again when
	// Begin returns.
	Begin(entry []byte, timeout time.Duration) (Pending, error)
	// ReadIndex returns when this replica has applied all that was committed,
	// anywhere, before the call.
	ReadIndex(ctx context.Context) error
	// Applier is the machine of this replica; nil for a witness.
	Applier() *Applier

	// Status is what this replica knows at once.
	Status() Status
	// Members asks the group for its members. The number returned grows with
	// each change, and goes with the next one.
	Members(ctx context.Context) ([]Member, uint64, error)
	// Add adds a member, or makes a NonVoter a Voter. change is what Members
	// returned, or 0 for whatever it is.
	Add(ctx context.Context, m Member, change uint64) error
	// RemoveMember removes a member.
	RemoveMember(ctx context.Context, r ReplicaID, change uint64) error
	// Transfer asks the leader to hand over to a voter, and waits for it.
	Transfer(ctx context.Context, to ReplicaID) error

	// Snapshot takes a snapshot now and compacts the log behind it. It returns
	// the snapshot's index.
	Snapshot(ctx context.Context) (uint64, error)
	// Backup writes the state to w as a file of its own; see [BackupInfo].
	Backup(ctx context.Context, w io.Writer) (BackupInfo, error)
}

// DefaultTimeout is the deadline of requests whose context has none.
const DefaultTimeout = 5 * time.Second

// Pending is an entry under way.
type Pending interface {
	// Wait waits for the answer, once.
	Wait(ctx context.Context) (Result, error)
}

// Status is what a replica knows without asking anyone.
type Status struct {
	Group   string
	ID      GroupID
	Replica ReplicaID
	Role    Role
	Kind    Kind
	// Leader is 0 while none is known; Term may lag.
	Leader ReplicaID
	Term   uint64
	// Applied is how far the log was applied here, and AppliedTime the log's
	// time there.
	Applied     uint64
	AppliedTime time.Time
	Members     []Member
	// Digest is of the last one taken, if Digest.Index is not 0.
	Digest Digest
}

// Leads reports whether the replica is its group's leader, as far as it knows.
func (s Status) Leads() bool { return s.Leader != 0 && s.Leader == s.Replica }

// BackupInfo is what the head of a backup says.
type BackupInfo struct {
	Group   string
	Index   uint64 // of the last entry that is in it
	Term    uint64
	Time    time.Time // the wall clock when it was made
	Node    NodeID    // which made it
	Members []Member  // at that index
	Bytes   int64     // of the state, before compression
}

// WithDefaultDeadline returns ctx, or one with [DefaultTimeout] where ctx has
// no deadline.
func WithDefaultDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}
