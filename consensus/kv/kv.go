// Package kv is a replicated store of keys and values as a Cell service: get,
// put, compare-and-set, delete, range, transactions, leases that expire, and
// watching what changes. One store is one Raft group.
//
// Every change has a revision, a number that grows by one with each command
// that changes something. Reads are linearizable unless they ask for less.
//
// [Machine] is the state machine, [Serve] the service before a group of them,
// and [Client] a client that finds a living member and whose writes are
// executed once.
package kv

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
)

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen kv.go

// KV is the store. Any member may be called; requests find the leader.
//
//cell:service
type KV interface {
	// Get reads one key. A missing one is not an error.
	//cell:idempotent
	Get(ctx context.Context, req GetRequest) (GetReply, error)
	// Range reads keys in order.
	//cell:idempotent
	Range(ctx context.Context, req RangeRequest) (RangeReply, error)
	// Put sets one key.
	Put(ctx context.Context, req PutRequest) (PutReply, error)
	// CompareAndSet sets one key if it is as expected.
	CompareAndSet(ctx context.Context, req CasRequest) (CasReply, error)
	// Delete removes one key or a range of them.
	Delete(ctx context.Context, req DeleteRequest) (DeleteReply, error)
	// Txn tests conditions and executes one of two lists, as one step.
	Txn(ctx context.Context, req TxnRequest) (TxnReply, error)
	// Grant makes a lease. Keys that are put under it go when it ends.
	Grant(ctx context.Context, req GrantRequest) (Lease, error)
	// KeepAlive begins the lease's time anew.
	//cell:idempotent
	KeepAlive(ctx context.Context, req LeaseRequest) (Lease, error)
	// Revoke ends a lease and removes its keys.
	Revoke(ctx context.Context, req LeaseRequest) error
	// Watch sends every change of a range of keys, in order, until the caller
	// has enough. Revisions that this member no longer has are out of range.
	Watch(ctx context.Context, req WatchRequest, out rpc.Sender[Event]) error
	// Execute executes a command once, unless it fails with a status that leaves
	// open whether it did. The calls above are made of it.
	Execute(ctx context.Context, req Command) (Outcome, error)
	// OpenSession makes a session, within which commands are executed once.
	OpenSession(ctx context.Context) (SessionReply, error)
	// Propose executes a command once, however often it is sent.
	//cell:idempotent
	Propose(ctx context.Context, req Proposal) (Outcome, error)
	// CloseSession forgets a session.
	//cell:idempotent
	CloseSession(ctx context.Context, req SessionRequest) error
	// Info says what the member that was called knows.
	//cell:idempotent
	Info(ctx context.Context) (InfoReply, error)
}

// GetRequest reads one key.
type GetRequest struct {
	Key []byte
	// Stale accepts what the member has, if it is no older than MaxAge.
	Stale  bool
	MaxAge int64 // unit: ns; 0: of any age
}

// GetReply is one key.
type GetReply struct {
	Found    bool
	Value    []byte
	Created  uint64 // revision
	Modified uint64 // revision
	Lease    uint64
	Age      int64 // unit: ns; how old a stale answer may be
}

// RangeRequest reads the keys from Start up to, without, End.
type RangeRequest struct {
	Start  []byte
	End    []byte // empty: to the last key
	Limit  uint32 // most items; 0: 1000
	Stale  bool
	MaxAge int64 // unit: ns; 0: of any age
}

// Item is a key with all that belongs to it.
type Item struct {
	Key      []byte
	Value    []byte
	Created  uint64
	Modified uint64
	Lease    uint64
}

// RangeReply is some keys in order.
type RangeReply struct {
	Revision uint64 // of the store
	Items    []Item
	More     bool  // begin again behind the last key
	Age      int64 // unit: ns
}

// PutRequest sets one key.
type PutRequest struct {
	Key   []byte
	Value []byte
	Lease uint64 // 0: none
}

// PutReply says what was there.
type PutReply struct {
	Revision uint64
	Existed  bool
}

// CasRequest sets a key whose last change was at Revision; 0: if it is missing.
type CasRequest struct {
	Key      []byte
	Revision uint64
	Value    []byte
	Lease    uint64
}

// CasReply says whether it was set.
type CasReply struct {
	Set      bool
	Revision uint64 // of the key, now
}

// DeleteRequest removes Key, or all from Key up to, without, End.
type DeleteRequest struct {
	Key []byte
	End []byte
}

// DeleteReply says how many there were.
type DeleteReply struct {
	Revision uint64
	Deleted  uint64
}

// Test is what a condition tests.
type Test uint8

// The tests.
const (
	TestExists   Test = 1 // the key is there
	TestMissing  Test = 2
	TestValue    Test = 3 // its value is Value
	TestModified Test = 4 // its last change was at Revision
)

// Condition is about one key.
type Condition struct {
	Test     Test
	Key      []byte
	Value    []byte
	Revision uint64
}

// OpKind is what an operation does.
type OpKind uint8

// The operations.
const (
	OpGet    OpKind = 1
	OpPut    OpKind = 2
	OpDelete OpKind = 3 // Key, or with End a range
	// What follows splits a store; package cluster does that. Each stands alone
	// in a transaction without conditions, or OpFill beside others.
	OpBound OpKind = 4 // makes an unused store one of the keys from Key to End, not open yet; Value names the group beyond
	OpSplit OpKind = 5 // gives the keys from Key on to the group Value
	OpFill  OpKind = 6 // puts a key into a store that is not open yet
	OpOpen  OpKind = 7 // opens it
	OpDrop  OpKind = 8 // removes up to 1,000 keys that are another group's; until Deleted is 0
)

// Op is one operation of a transaction.
type Op struct {
	Kind  OpKind
	Key   []byte
	End   []byte
	Value []byte
	Lease uint64
}

// TxnRequest executes Then if all conditions hold, and Else if not.
type TxnRequest struct {
	If   []Condition
	Then []Op
	Else []Op
}

// OpResult is what an operation found.
type OpResult struct {
	Found    bool
	Value    []byte // of a get, and what a put or delete of one key replaced
	Modified uint64 // revision of what was found
	Deleted  uint64
}

// TxnReply is what a transaction did.
type TxnReply struct {
	Revision  uint64 // of the store, now
	Succeeded bool   // the conditions held
	Results   []OpResult
}

// GrantRequest makes a lease.
type GrantRequest struct {
	Ttl int64 // unit: ns; at least a second
}

// LeaseRequest names a lease.
type LeaseRequest struct{ Id uint64 }

// Lease is one.
type Lease struct {
	Id  uint64
	Ttl int64 // unit: ns
}

// WatchRequest watches Key, or all from Key up to, without, End.
type WatchRequest struct {
	Key  []byte
	End  []byte
	All  bool   // every key
	From uint64 // the first revision to be sent; 0: what comes from now on
}

// Change is what happened to a key.
type Change uint8

// The changes.
const (
	ChangePut     Change = 1
	ChangeDelete  Change = 2
	ChangeExpired Change = 3 // its lease ended
)

// Event is a change of one key.
type Event struct {
	Change   Change
	Key      []byte
	Value    []byte
	Revision uint64
}

// Expire ends leases whose time is over.
type Expire struct {
	Reserved uint8
}

// Action is what a command does.
//
//cell:union
type Action struct {
	Txn       *TxnRequest
	Grant     *GrantRequest
	KeepAlive *LeaseRequest
	Revoke    *LeaseRequest
	Expire    *Expire
}

// Command is an entry of the log.
type Command struct{ Do Action }

// Proposal is a command that is executed once.
type Proposal struct {
	Session  uint64
	Sequence uint64
	Answered uint64
	Command  Command
}

// Outcome is what became of a command.
type Outcome struct {
	Status  uint8 // a wire status; 0: executed
	Message string
	Txn     *TxnReply
	Lease   *Lease
}

// SessionReply is a new session.
type SessionReply struct{ Session uint64 }

// SessionRequest names a session.
type SessionRequest struct{ Session uint64 }

// InfoReply is what a member knows.
type InfoReply struct {
	Group    string
	Replica  uint64
	Leader   uint64 // 0: unknown
	Term     uint64
	Applied  uint64 // index
	Revision uint64
	Keys     uint64
	Leases   uint64
	Members  []MemberInfo
}

// MemberInfo is one member of the group.
type MemberInfo struct {
	Replica uint64
	Node    string
	Role    string
}
