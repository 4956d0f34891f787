// Package netops is the service by which a node is asked about other nodes: who
// is there, who serves what, and which way leads to it.
package netops

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
)

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen

// Network is what a node knows of others.
//
//cell:service
type Network interface {
	// Status says who this node is among others, and what it has dropped.
	//cell:idempotent
	Status(ctx context.Context) (Status, error)
	// Peers lists the other nodes.
	//cell:idempotent
	Peers(ctx context.Context) (PeerList, error)
	// Watch tells of peers that come, change and go, those that are there first,
	// until the caller goes.
	Watch(ctx context.Context, out rpc.Sender[Event]) (Done, error)
	// Path says which ways lead to a name, the best first, and why others don't.
	//cell:idempotent
	Path(ctx context.Context, req Name) (PathList, error)
}

// Name names a cell.
type Name struct {
	Cell string
}

// Done ends a stream.
type Done struct {
	Why string
}

// Status is a node among others.
type Status struct {
	Alone    string // why it is in no network; empty: it is in one
	ID       string
	Name     string
	Cluster  string
	Until    int64 // unit: ns since 1970; its membership's end; 0: none
	Listens  string
	Filters  []string // interfaces with a filter in the kernel
	Why      []string // not everywhere, or not in a cheaper way
	Drops    []Count
	Sent     uint64 // pheromones
	Received uint64 // pheromones that were accepted
	Rests    uint64 // times that a socket rested in a flood
	Refused  []Refusal
	Omitted  bool // more names are served by others than there are sockets for
}

// Count is how many pheromones were dropped for one reason.
type Count struct {
	Reason string
	Number uint64
}

// Refusal is a peer that was turned away, or that has turned this node away.
type Refusal struct {
	At   int64 // unit: ns since 1970
	Who  string
	What string
	Why  string
}

// PeerList is who is there.
type PeerList struct {
	Peers []Peer
}

// Peer is another node.
type Peer struct {
	ID        string
	Name      string
	Addr      string // where its pheromones come from; empty: it is known through others
	Links     []string
	Hops      uint8
	Suspect   bool
	Heard     int64 // unit: ns ago
	Since     int64 // unit: ns since 1970; its start
	SameHost  bool
	Connected bool // over QUIC
	Services  []Service
}

// Service is a cell of another node.
type Service struct {
	Name         string
	Load         uint8 // 0 idle, 255 full
	Draining     bool
	Fingerprints []string
	Ancestors    []string // earlier forms that it accepts as well
}

// Event is what happened to a peer.
type Event struct {
	At   int64  // unit: ns since 1970
	What string // found, changed, left, died, expired, evicted, revoked
	Peer Peer
}

// PathList is how a name is reached.
type PathList struct {
	Paths []Path
	Why   []string // the others are not
}

// Path is one way.
type Path struct {
	Medium   string
	Node     string
	NodeName string
	Addr     string
	Load     uint8
	Draining bool
	InUse    bool
}
