package discovery

import (
	"encoding/binary"
	"errors"

	"github.com/cell-runtime/cell/identity"
)

// The envelope of a pheromone, little-endian. A filter in the kernel checks the
// first 64 bytes, which are the same for every kind and version:
//
//	 0 magic "CELP"     4 version u8   5 kind u8   6 length u16, of the whole
//	 8 cluster 8 bytes
//	16 node 32 bytes, an Ed25519 public key
//	48 incarnation u64
//	56 counter u64
//	64 flags u8        65 hops u8     66 lifetime u16, seconds
//	68 revision u32
//	72 issued u64, milliseconds since 1970 UTC
//	80 known u32       84 digest u32
//	88 what the kind has
//	-80 MAC 16 bytes, of all before it; zero in a cluster without a key
//	-64 signature 64 bytes, of all before it
const (
	// Version is the version of the format that this package writes and reads.
	Version = 1
	// MaxPacket is the most bytes of a pheromone: it fits a datagram on every
	// path that IPv6 allows (1,280 less headers).
	MaxPacket = 1200
	// MinPacket is the least: an envelope with nothing in it.
	MinPacket = bodyAt + macSize + signatureSize

	bodyAt        = 88
	macSize       = 16
	signatureSize = 64
	tailSize      = macSize + signatureSize
	// MaxBody is the most bytes between envelope and tail.
	MaxBody = MaxPacket - bodyAt - tailSize
)

// Magic is what a pheromone begins with.
const Magic = "CELP"

// Kind says what a pheromone is for.
type Kind uint8

// The kinds.
const (
	KindBeacon  Kind = 1  // about the sender: its services and addresses
	KindLeave   Kind = 2  // the sender goes, of its own will
	KindQuery   Kind = 3  // asks for beacons
	KindProbe   Kind = 4  // asks whether the receiver lives
	KindAck     Kind = 5  // answers a probe
	KindAskFor  Kind = 6  // asks the receiver to probe another node
	KindSuspect Kind = 7  // a node did not answer
	KindGone    Kind = 8  // nodes that the sender takes for dead
	KindSync    Kind = 9  // hashes of the sender's table
	KindRelay   Kind = 10 // beacons of others, as they were signed
)

var kindNames = [...]string{"", "beacon", "leave", "query", "probe", "ack", "ask-for", "suspect", "gone", "sync", "relay"}

// String returns the kind's name.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return "unknown"
	}
	return kindNames[k]
}

// Flags of the envelope.
const (
	// FlagAsk: the sender is new and wants the receivers' beacons.
	FlagAsk = 1 << 0
	// FlagClient: the sender looks for others and is itself no member.
	FlagClient = 1 << 1
)

// ID is a node's identity: its Ed25519 public key.
type ID = identity.ID

// Envelope is what every pheromone carries besides what its kind has.
type Envelope struct {
	Kind    Kind
	Flags   uint8
	Hops    uint8 // over how many reliable links others may pass it on
	Cluster [8]byte
	Node    ID
	// Incarnation grows with every start of the node, Counter with every
	// pheromone of an incarnation. Together they are never used twice.
	Incarnation, Counter uint64
	// Lifetime is for how many seconds what it says holds without renewal.
	Lifetime uint16
	// Revision grows with every change of what the node's beacons say.
	Revision uint32
	// Issued is the sender's clock in milliseconds since 1970 UTC.
	Issued uint64
	// Known and Digest are the size and a hash of the sender's table. Who
	// finds his own different asks for what he lacks.
	Known, Digest uint32
}

// Errors of reading a pheromone; each is also a count of [Drops].
var (
	ErrTruncated = errors.New("discovery: pheromone shorter than its format")
	ErrOversized = errors.New("discovery: pheromone longer than its format")
	ErrMagic     = errors.New("discovery: not a pheromone")
	ErrVersion   = errors.New("discovery: pheromone of another version")
	ErrKind      = errors.New("discovery: pheromone of an unknown kind")
	ErrCluster   = errors.New("discovery: pheromone of another cluster")
	ErrMAC       = errors.New("discovery: pheromone of somebody without the cluster's key")
	ErrStranger  = errors.New("discovery: pheromone of a node that is not trusted")
	ErrReplay    = errors.New("discovery: pheromone seen before, or older than one")
	ErrSkew      = errors.New("discovery: pheromone whose clock is too far from this node's")
	ErrRate      = errors.New("discovery: more pheromones than are verified")
	ErrSignature = errors.New("discovery: pheromone with a false signature")
	ErrBody      = errors.New("discovery: pheromone whose content breaks the format")
)

// parseEnvelope reads the envelope of p into e, believing nothing of it but its
// form. It allocates nothing.
func parseEnvelope(p []byte, e *Envelope) error {
	switch {
	case len(p) < MinPacket:
		return ErrTruncated
	case len(p) > MaxPacket:
		return ErrOversized
	case string(p[:4]) != Magic:
		return ErrMagic
	case p[4] != Version:
		return ErrVersion
	}
	switch length := int(binary.LittleEndian.Uint16(p[6:])); {
	case length > len(p):
		return ErrTruncated
	case length < len(p):
		return ErrOversized
	}
	if e.Kind = Kind(p[5]); e.Kind == 0 || int(e.Kind) >= len(kindNames) {
		return ErrKind
	}
	e.Cluster = [8]byte(p[8:])
	e.Node = ID(p[16:])
	e.Incarnation = binary.LittleEndian.Uint64(p[48:])
	e.Counter = binary.LittleEndian.Uint64(p[56:])
	e.Flags, e.Hops = p[64], p[65]
	e.Lifetime = binary.LittleEndian.Uint16(p[66:])
	e.Revision = binary.LittleEndian.Uint32(p[68:])
	e.Issued = binary.LittleEndian.Uint64(p[72:])
	e.Known = binary.LittleEndian.Uint32(p[80:])
	e.Digest = binary.LittleEndian.Uint32(p[84:])
	return nil
}

// body returns what the kind has, of a pheromone whose envelope was parsed.
func body(p []byte) []byte { return p[bodyAt : len(p)-tailSize] }

// appendEnvelope appends e with a length of zero, which sealing sets.
func appendEnvelope(to []byte, e *Envelope) []byte {
	to = append(to, Magic...)
	to = append(to, Version, byte(e.Kind), 0, 0)
	to = append(to, e.Cluster[:]...)
	to = append(to, e.Node[:]...)
	to = binary.LittleEndian.AppendUint64(to, e.Incarnation)
	to = binary.LittleEndian.AppendUint64(to, e.Counter)
	to = append(to, e.Flags, e.Hops)
	to = binary.LittleEndian.AppendUint16(to, e.Lifetime)
	to = binary.LittleEndian.AppendUint32(to, e.Revision)
	to = binary.LittleEndian.AppendUint64(to, e.Issued)
	to = binary.LittleEndian.AppendUint32(to, e.Known)
	return binary.LittleEndian.AppendUint32(to, e.Digest)
}
