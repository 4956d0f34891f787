// Package admin is the service by which a member of a cluster is asked what it
// has and told what to change, over a unix socket of its own.
package admin

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
)

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen

// Raft is a member's own service.
//
//cell:service
type Raft interface {
	// Status says whether this node is in a cluster, and lists the nodes of it.
	//cell:idempotent
	Status(ctx context.Context) (Cluster, error)
	// Groups lists the groups of the table and those that run here.
	//cell:idempotent
	Groups(ctx context.Context) (GroupList, error)
	// Create makes a group on the nodes that have the fewest.
	Create(ctx context.Context, req NewGroup) (Done, error)
	// Add gives a node a replica of a group, or makes it a voter of the cluster.
	Add(ctx context.Context, req Place) (Done, error)
	// Remove takes a node's replica of a group away; without a node it deletes
	// the group, and without a group it takes the node out of the cluster.
	Remove(ctx context.Context, req Place) (Done, error)
	// Move gives a node's replica to another node.
	Move(ctx context.Context, req Moving) (Done, error)
	// Split gives the keys of a store from a key on to a new group.
	Split(ctx context.Context, req Splitting) (Done, error)
	// Transfer makes a node's replica the leader of its group.
	Transfer(ctx context.Context, req Place) (Done, error)
	// Snapshot takes a snapshot of this node's replica and compacts its log.
	Snapshot(ctx context.Context, req Place) (Done, error)
	// Backup sends a group's state as it is here.
	Backup(ctx context.Context, req Place, out rpc.Sender[Chunk]) (BackupInfo, error)
	// Introduce tells the member of addresses at which others may be.
	Introduce(ctx context.Context, req Addresses) (Done, error)
}

// Cluster is what a member knows of its cluster.
type Cluster struct {
	Node    string
	Addr    string
	Formed  bool
	Waits   string // for what, where it is not in order
	Cluster string // its id
	Nodes   []Node
}

// Node is a node of the cluster.
type Node struct {
	Node    string
	Addr    string
	Replica uint64 // of the system group
	Alive   bool   // it has answered lately
	Groups  uint32 // of which it has a replica
}

// GroupList is the groups of the table, and those that run here.
type GroupList struct{ Groups []Group }

// Group is a group, as this member knows it.
type Group struct {
	Name    string
	Kind    string
	Here    bool   // a replica of it runs here; what follows is known then
	Replica uint64 // here
	Leader  uint64 // replica; 0: unknown
	Term    uint64
	Applied uint64 // index, here
	Seats   []Seat
	// Of a store that was split: the keys from From up to, without, To.
	From   []byte
	To     []byte
	Beyond string // the group that has what follows
	Source string // the group that still gives it its keys
}

// Seat is one replica.
type Seat struct {
	Replica uint64
	Node    string
	Role    string // voter, non-voter, witness; coming and leaving by the table
}

// NewGroup is a group to be made.
type NewGroup struct {
	Name     string
	Replicas uint32 // 0: as many as the cluster has voters
}

// Place is a node's replica of a group.
type Place struct {
	Group string
	Node  string
}

// Moving is a replica's way.
type Moving struct {
	Group string
	From  string
	To    string
}

// Splitting is a store's cut.
type Splitting struct {
	Group string
	At    []byte // the first key that goes
	New   string // the group that gets them
}

// Addresses are TCP addresses of nodes.
type Addresses struct{ Addrs []string }

// Done is what was done, a sentence each.
type Done struct{ Did []string }

// Chunk is a piece of a backup.
type Chunk struct{ Data []byte }

// BackupInfo is what a backup is of.
type BackupInfo struct {
	Group string
	Index uint64
	Term  uint64
	Bytes int64 // of the state
}
