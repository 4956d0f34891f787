package identity

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Membership is the proof that a node belongs to a cluster, signed by the
// cluster's key or, under a [Grant], by a token's. It is no secret and can be
// carried in certificates, beacons and files; it is worth something only to
// whoever has the node's key.
//
// Encoded it is, little endian:
//
//	version 1, kind 1, cluster 32, node 32, serial 8, not before 8, not after 8,
//	of kind 2: delegate 32, then the grant's serial 8, not before 8,
//	not after 8, uses 4, signature 64,
//	signature 64
type Membership struct {
	Cluster   ClusterID
	Node      ID
	Serial    uint64 // by which it is revoked; under a grant, the grant's
	NotBefore time.Time
	NotAfter  time.Time
	// Grant is by what right a token signed it; nil if the cluster's key did.
	Grant *Grant

	signature [64]byte
}

const (
	membershipDirect  = 1
	membershipGranted = 2

	membershipDirectSize = 1 + 1 + 32 + 32 + 8 + 8 + 8 + 64
	// MaxMembership is the length in bytes of the longest encoded membership.
	MaxMembership = membershipDirectSize + 32 + grantBody
)

func (m *Membership) signed() []byte {
	b := make([]byte, 0, MaxMembership)
	if m.Grant == nil {
		b = append(b, statementVersion, membershipDirect)
	} else {
		b = append(b, statementVersion, membershipGranted)
	}
	b = append(b, m.Cluster[:]...)
	b = append(b, m.Node[:]...)
	b = binary.LittleEndian.AppendUint64(b, m.Serial)
	b = appendTime(b, m.NotBefore)
	b = appendTime(b, m.NotAfter)
	if m.Grant != nil {
		b = append(b, m.Grant.Delegate[:]...)
		b = m.Grant.appendBody(b)
	}
	return b
}

// MarshalBinary implements [encoding.BinaryMarshaler].
func (m *Membership) MarshalBinary() ([]byte, error) {
	return append(m.signed(), m.signature[:]...), nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]. It checks the form
// and no signature: see [Membership.Verify]. Error: [ErrStatement].
func (m *Membership) UnmarshalBinary(b []byte) error {
	f := newFields(b)
	version, kind := f.byte(), f.byte()
	*m = Membership{
		Cluster: f.key(), Node: f.key(), Serial: f.uint64(), NotBefore: f.time(), NotAfter: f.time(),
	}
	if kind == membershipGranted {
		m.Grant = &Grant{Cluster: m.Cluster, Delegate: f.key()}
		m.Grant.readBody(f)
	}
	m.signature = f.signature()
	if !f.done() || version != statementVersion || kind != membershipDirect && kind != membershipGranted {
		return fmt.Errorf("%w: %d bytes are no membership of version %d", ErrStatement, len(b), statementVersion)
	}
	return nil
}

// MarshalText implements [encoding.TextMarshaler]: the form that people copy.
func (m *Membership) MarshalText() ([]byte, error) {
	b, err := m.MarshalBinary()
	return []byte(encodeText(textMembership, b)), err
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *Membership) UnmarshalText(text []byte) error {
	b, err := decodeText(textMembership, "a membership", string(text))
	if err != nil {
		return err
	}
	return m.UnmarshalBinary(b)
}

// Confirmed reports whether the cluster's own key signed it.
func (m *Membership) Confirmed() bool { return m.Grant == nil }

// Counted reports whether it rests on a token that admits a certain number of
// nodes. It is then good for being enrolled by an [Issuer] and for nothing
// else.
func (m *Membership) Counted() bool { return m.Grant != nil && m.Grant.Uses != 0 }

// Until returns when it ends.
func (m *Membership) Until() time.Time {
	if m.Grant != nil && m.Grant.NotAfter.Before(m.NotAfter) {
		return m.Grant.NotAfter
	}
	return m.NotAfter
}

// Verify returns nil if the membership is of the given cluster, was signed by
// who may, and is valid now. Revocations and counting are not its affair: see
// [Trust]. Errors: [ErrStatement], [ErrExpired], [ErrWeak].
func (m *Membership) Verify(cluster ClusterID, now time.Time) error {
	if m.Cluster != cluster {
		return fmt.Errorf("%w: it is a membership of %v, and this is %v", ErrStatement, m.Cluster, cluster)
	}
	if err := m.Node.Check(); err != nil {
		return err
	}
	signer := ID(cluster)
	if m.Grant != nil {
		if m.Serial != m.Grant.Serial {
			return fmt.Errorf("%w: the membership's serial is not its token's", ErrStatement)
		}
		if err := m.Grant.verify(now); err != nil {
			return err
		}
		signer = m.Grant.Delegate
	}
	if !Verify(signer, domainMembership, m.signed(), m.signature[:]) {
		return fmt.Errorf("%w: the signature of the membership is wrong", ErrStatement)
	}
	return checkTimes("the membership", m.NotBefore, m.NotAfter, now)
}
