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
	Cell string `json:"cell"`
}

// Done ends a stream.
type Done struct {
	Why string `json:"why"`
}

// Status is a node among others.
type Status struct {
	Alone    string    `json:"alone"` // why it is in no network; empty: it is in one
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Cluster  string    `json:"cluster"`
	Until    int64     `json:"until"` // unit: ns since 1970; its membership's end; 0: none
	Listens  string    `json:"listens"`
	Filters  []string  `json:"filters"` // interfaces with a filter in the kernel
	Why      []string  `json:"why"`     // not everywhere, or not in a cheaper way
	Drops    []Count   `json:"drops"`
	Sent     uint64    `json:"sent"`     // pheromones
	Received uint64    `json:"received"` // pheromones that were accepted
	Rests    uint64    `json:"rests"`    // times that a socket rested in a flood
	Refused  []Refusal `json:"refused"`
	Omitted  bool      `json:"omitted"` // more names are served by others than there are sockets for
}

// Count is how many pheromones were dropped for one reason.
type Count struct {
	Reason string `json:"reason"`
	Number uint64 `json:"number"`
}

// Refusal is a peer that was turned away, or that has turned this node away.
type Refusal struct {
	At   int64  `json:"at"` // unit: ns since 1970
	Who  string `json:"who"`
	What string `json:"what"`
	Why  string `json:"why"`
}

// PeerList is who is there.
type PeerList struct {
	Peers []Peer `json:"peers"`
}

// Peer is another node.
type Peer struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Addr      string    `json:"addr"` // where its pheromones come from; empty: it is known through others
	Links     []string  `json:"links"`
	Hops      uint8     `json:"hops"`
	Suspect   bool      `json:"suspect"`
	Heard     int64     `json:"heard"` // unit: ns ago
	Since     int64     `json:"since"` // unit: ns since 1970; its start
	SameHost  bool      `json:"same_host"`
	Connected bool      `json:"connected"` // over QUIC, by a relay or without one
	Services  []Service `json:"services"`
}

// Service is a cell of another node.
type Service struct {
	Name         string   `json:"name"`
	Load         uint8    `json:"load"` // 0 idle, 255 full
	Draining     bool     `json:"draining"`
	Fingerprints []string `json:"fingerprints"`
	Ancestors    []string `json:"ancestors"` // earlier forms that it accepts as well
}

// Event is what happened to a peer.
type Event struct {
	At   int64  `json:"at"`   // unit: ns since 1970
	What string `json:"what"` // found, changed, left, died, expired, evicted, revoked
	Peer Peer   `json:"peer"`
}

// PathList is how a name is reached.
type PathList struct {
	Paths []Path   `json:"paths"`
	Why   []string `json:"why"` // the others are not
}

// Path is one way.
type Path struct {
	Medium   string `json:"medium"`
	Node     string `json:"node"`
	NodeName string `json:"node_name"`
	Addr     string `json:"addr"`
	Load     uint8  `json:"load"`
	Draining bool   `json:"draining"`
	InUse    bool   `json:"in_use"`
}
