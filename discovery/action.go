package discovery

import (
	"net/netip"
)

// Instant is a moment as a [Machine] is told it.
type Instant struct {
	// Mono is a clock in nanoseconds that never jumps.
	Mono int64
	// Wall is the time in milliseconds since 1970 UTC.
	Wall int64
}

// Packet is what arrived.
type Packet struct {
	Data []byte // the machine keeps nothing of it
	// From is where a datagram came from. It is invalid for what came over a
	// reliable link, of which Over is the proven peer.
	From netip.AddrPort
	Over ID
	// Group: it was sent to a group or by broadcast, not to this node alone.
	Group bool
}

// ActionKind says what an [Action] asks for.
type ActionKind uint8

// The kinds of actions.
const (
	// SendGroup: Data goes to everybody who can be reached: multicast groups,
	// broadcast addresses, seeds.
	SendGroup ActionKind = iota + 1
	// SendTo: Data goes to To in a datagram.
	SendTo
	// SendLink: Data goes over the reliable link to Peer.
	SendLink
	// Tell: Event is of interest to the program.
	Tell
)

// Action is what a [Machine] wants done.
type Action struct {
	Kind  ActionKind
	Data  []byte // the receiver's to keep, and not to change
	To    netip.AddrPort
	Peer  ID
	Event Event
}

// EventKind says what happened to a peer.
type EventKind uint8

// The kinds of events.
const (
	Found   EventKind = iota + 1 // a node has appeared
	Changed                      // its beacon says something else
	Left                         // it went of its own will
	Died                         // it did not answer
	Expired                      // it was known through others, who say nothing of it any more
	Evicted                      // the table was full
	Revoked                      // it is trusted no longer
)

var eventNames = [...]string{"", "found", "changed", "left", "died", "expired", "evicted", "revoked"}

// String returns the event's name.
func (k EventKind) String() string {
	if int(k) >= len(eventNames) {
		return "unknown"
	}
	return eventNames[k]
}

// Gone reports whether the peer is no longer there.
func (k EventKind) Gone() bool { return k >= Left }

// Event is what happened to a peer.
type Event struct {
	Kind EventKind
	Peer Peer
}

// Peer is a node as this one knows it.
type Peer struct {
	ID     ID
	Beacon *Beacon // not to be changed
	// Addr is where it was last heard from; invalid if only through others.
	Addr netip.AddrPort
	// Hops is over how many reliable links it became known; 0: directly.
	Hops uint8
	// Suspect: it owes an answer.
	Suspect bool
	// Heard is when it last proved to be alive: [Instant].Mono.
	Heard int64
}

// Drops count what was dropped, by reason. Own are this node's own pheromones,
// which a network returns; Full what found no place in the table.
type Drops struct {
	Own, Malformed, Version, Cluster, MAC, Stranger, Replay, Skew, Rate, Signature, Body, Full uint64
}

func (d *Drops) count(err error) {
	switch err {
	case errOwn:
		d.Own++
	case ErrTruncated, ErrOversized, ErrMagic, ErrKind:
		d.Malformed++
	case ErrVersion:
		d.Version++
	case ErrCluster:
		d.Cluster++
	case ErrMAC:
		d.MAC++
	case ErrStranger:
		d.Stranger++
	case ErrReplay:
		d.Replay++
	case ErrSkew:
		d.Skew++
	case ErrRate:
		d.Rate++
	case ErrSignature:
		d.Signature++
	case errFull:
		d.Full++
	default:
		d.Body++
	}
}

// Total returns how many were dropped for whatever reason, own ones apart.
func (d *Drops) Total() uint64 {
	return d.Malformed + d.Version + d.Cluster + d.MAC + d.Stranger + d.Replay + d.Skew + d.Rate + d.Signature + d.Body + d.Full
}

// Stats are a machine's counters since its start.
type Stats struct {
	Drops Drops
	// Received and Sent are pheromones by [Kind], accepted and made.
	Received, Sent [len(kindNames)]uint64
	Suspicions     uint64 // begun by this node
	Refuted        uint64 // of itself
	Deaths         uint64 // of others, as this node sees it
	Peers, Alive   int    // in the table; of those, living
}
