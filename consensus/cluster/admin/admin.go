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
	Node    string `json:"node"`
	Addr    string `json:"addr"`
	Formed  bool   `json:"formed"`
	Waits   string `json:"waits"`   // for what, where it is not in order
	Cluster string `json:"cluster"` // its id
	Nodes   []Node `json:"nodes"`
}

// Node is a node of the cluster.
type Node struct {
	Node    string `json:"node"`
	Addr    string `json:"addr"`
	Replica uint64 `json:"replica"` // of the system group
	Alive   bool   `json:"alive"`   // it has answered lately
	Groups  uint32 `json:"groups"`  // of which it has a replica
}

// GroupList is the groups of the table, and those that run here.
type GroupList struct {
	Groups []Group `json:"groups"`
}

// Group is a group, as this member knows it.
type Group struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Here    bool   `json:"here"`    // a replica of it runs here; what follows is known then
	Replica uint64 `json:"replica"` // here
	Leader  uint64 `json:"leader"`  // replica; 0: unknown
	Term    uint64 `json:"term"`
	Applied uint64 `json:"applied"` // index, here
	Seats   []Seat `json:"seats"`
	// Of a store that was split: the keys from From up to, without, To.
	From   []byte `json:"from"`
	To     []byte `json:"to"`
	Beyond string `json:"beyond"` // the group that has what follows
	Source string `json:"source"` // the group that still gives it its keys
}

// Seat is one replica.
type Seat struct {
	Replica uint64 `json:"replica"`
	Node    string `json:"node"`
	Role    string `json:"role"` // voter, non-voter, witness; coming and leaving by the table
}

// NewGroup is a group to be made.
type NewGroup struct {
	Name     string `json:"name"`
	Replicas uint32 `json:"replicas"` // 0: as many as the cluster has voters
}

// Place is a node's replica of a group.
type Place struct {
	Group string `json:"group"`
	Node  string `json:"node"`
}

// Moving is a replica's way.
type Moving struct {
	Group string `json:"group"`
	From  string `json:"from"`
	To    string `json:"to"`
}

// Splitting is a store's cut.
type Splitting struct {
	Group string `json:"group"`
	At    []byte `json:"at"`  // the first key that goes
	New   string `json:"new"` // the group that gets them
}

// Addresses are TCP addresses of nodes.
type Addresses struct {
	Addrs []string `json:"addrs"`
}

// Done is what was done, a sentence each.
type Done struct {
	Did []string `json:"did"`
}

// Chunk is a piece of a backup.
type Chunk struct {
	Data []byte `json:"data"`
}

// BackupInfo is what a backup is of.
type BackupInfo struct {
	Group string `json:"group"`
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	Bytes int64  `json:"bytes"` // of the state
}
