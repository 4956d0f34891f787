package identity

import (
	"encoding/binary"
	"fmt"
	"time"
)

// RevocationList is a cluster's word about whom its members must refuse. Nodes
// pass it on; the one with the highest counter counts. It is signed by the
// cluster's key.
//
// Encoded it is, little endian: version 1, cluster 32, counter 8, issued 8,
// number of nodes 4, number of serials 4, nodes 32 each, serials 8 each,
// signature 64.
type RevocationList struct {
	Cluster ClusterID
	Counter uint64
	Issued  time.Time
	Nodes   []ID
	// Serials are those of tokens, and with them of every membership that
	// rests on one, and of memberships.
	Serials []uint64

	signature [64]byte
}

// MaxRevoked bounds the entries of a list, nodes and serials together.
const MaxRevoked = 8192

// Revoke signs a list. counter must be higher than that of the list before.
func (c *Cluster) Revoke(counter uint64, now time.Time, nodes []ID, serials []uint64) (*RevocationList, error) {
	if len(nodes)+len(serials) > MaxRevoked {
		return nil, fmt.Errorf("identity: %d revocations; a list has at most %d; make a new cluster key", len(nodes)+len(serials), MaxRevoked)
	}
	l := &RevocationList{Cluster: c.ID(), Counter: counter, Issued: seconds(now), Nodes: nodes, Serials: serials}
	l.signature = [64]byte(c.key.Sign(domainRevocation, l.signed()))
	return l, nil
}

func (l *RevocationList) signed() []byte {
	b := append([]byte{statementVersion}, l.Cluster[:]...)
	b = binary.LittleEndian.AppendUint64(b, l.Counter)
	b = appendTime(b, l.Issued)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(l.Nodes)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(l.Serials)))
	for _, n := range l.Nodes {
		b = append(b, n[:]...)
	}
	for _, s := range l.Serials {
		b = binary.LittleEndian.AppendUint64(b, s)
	}
	return b
}

// MarshalBinary implements [encoding.BinaryMarshaler].
func (l *RevocationList) MarshalBinary() ([]byte, error) {
	return append(l.signed(), l.signature[:]...), nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]; it checks the form
// and no signature. Error: [ErrStatement].
func (l *RevocationList) UnmarshalBinary(b []byte) error {
	f := newFields(b)
	version := f.byte()
	*l = RevocationList{Cluster: f.key(), Counter: f.uint64(), Issued: f.time()}
	nodes, serials := f.uint32(), f.uint32()
	if !f.ok || version != statementVersion || nodes > MaxRevoked || serials > MaxRevoked || nodes+serials > MaxRevoked ||
		len(f.rest) != int(nodes)*32+int(serials)*8+SignatureSize {
		return fmt.Errorf("%w: %d bytes are no list of revocations of version %d", ErrStatement, len(b), statementVersion)
	}
	for range nodes {
		l.Nodes = append(l.Nodes, f.key())
	}
	for range serials {
		l.Serials = append(l.Serials, f.uint64())
	}
	l.signature = f.signature()
	return nil
}

// MarshalText implements [encoding.TextMarshaler]: the form that people copy.
func (l *RevocationList) MarshalText() ([]byte, error) {
	b, err := l.MarshalBinary()
	return []byte(encodeText(textRevoked, b)), err
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *RevocationList) UnmarshalText(text []byte) error {
	b, err := decodeText(textRevoked, "a list of revocations", string(text))
	if err != nil {
		return err
	}
	return l.UnmarshalBinary(b)
}

// Verify returns nil if the key of the given cluster has signed the list.
// Error: [ErrStatement].
func (l *RevocationList) Verify(cluster ClusterID) error {
	if l.Cluster != cluster || !Verify(ID(cluster), domainRevocation, l.signed(), l.signature[:]) {
		return fmt.Errorf("%w: the list of revocations is not signed by %v", ErrStatement, cluster)
	}
	return nil
}
