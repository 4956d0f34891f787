// Package consensus keeps state in agreement over several nodes: replicated
// state machines in Raft groups, behind an interface that names no
// implementation. consensus/dragonboat implements it on a real Raft;
// consensus/single in one process without one, for tests and for nodes that
// stand alone. Whoever imports this package alone pulls in neither.
//
//	author            a machine: Apply, Read, Snapshot, Restore  (machine.go)
//	this package      log time, sessions, digests: [Applier]
//	backend           [Host] and [Group]: log, quorum, membership, snapshots
//	caller            [Propose], [Session], [Query], [QueryStale]
//
// A machine must be deterministic: the same log makes the same state and the
// same results on every replica. [Entry.Time] and [Entry.Rand] stand in for
// the clock and for chance, and [Check] finds machines that use others.
//
// docs/CONSENSUS.md says what is promised when nodes, disks and networks fail.
package consensus
