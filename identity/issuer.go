package identity

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrUsedUp: a counted token has admitted as many nodes as it may.
var ErrUsedUp = errors.New("identity: the token is used up")

// MemberLifetime is for how long an [Issuer] admits a node, if nothing else is
// said. A node renews its membership long before.
const MemberLifetime = 90 * 24 * time.Hour

// Issuer admits nodes over the network, on a node that holds the cluster's key:
// those that come with a token, which it counts, and those whose membership it
// confirmed before and that want it renewed. All methods may be called by any
// goroutine, and several processes may use one directory.
type Issuer struct {
	path     string
	trust    *Trust
	lifetime time.Duration
	cluster  *Cluster
	now      func() time.Time
}

// NewIssuer returns the issuer of the cluster whose key lies in directory path;
// trust, which follows the same directory, says what was revoked. lifetime is
// for how long it admits, 0 for [MemberLifetime]. The error wraps
// fs.ErrNotExist if there is no such key.
func NewIssuer(path string, trust *Trust, lifetime time.Duration) (*Issuer, error) {
	c, err := LoadCluster(path)
	if err != nil {
		return nil, fmt.Errorf("%w; nodes are enrolled where the cluster's key lies", err)
	}
	if lifetime == 0 {
		lifetime = MemberLifetime
	}
	if lifetime < time.Minute {
		return nil, fmt.Errorf("identity: memberships for %v would end before they are renewed; give them at least a minute", lifetime)
	}
	return &Issuer{path: path, trust: trust, lifetime: lifetime, cluster: c, now: time.Now}, nil
}

// Enrol admits the node that has proved to have id's key and shows e: a
// membership by a token, or one to be renewed, its own or that of a key which
// vouches for the new one. The membership that it gets is signed by the
// cluster's key and keeps the serial number of what it rests on, so that
// revoking a token still throws out everybody who came by it.
//
// Each node has one place, and hands it on to one key at a time: until the former
// membership has ended, or its key was revoked, the successor can't be succeeded,
// nor the former one renew. So what a token has admitted doesn't multiply.
//
// Errors: [ErrUnknown] (it shows no membership), [ErrStatement] (of another
// cluster, or forged), [ErrExpired], [ErrRevoked], [ErrUsedUp], [ErrPlaceTaken],
// or what keeps this node from counting.
func (i *Issuer) Enrol(id ID, e Evidence) (*Enrolment, error) {
	if err := id.Check(); err != nil {
		return nil, err
	}
	now := i.now()
	// What was revoked a moment ago by another process counts.
	if _, err := i.trust.Reload(i.path); err != nil {
		return nil, err
	}
	r := i.trust.current()
	if r.isRevoked(id) {
		return nil, fmt.Errorf("%w: node %v", ErrRevoked, id)
	}
	m, keys, err := i.shown(r, id, &e, now)
	if err != nil {
		return nil, err
	}
	if err := m.Verify(i.cluster.ID(), now); err != nil {
		return nil, err
	}
	if r.isSerialRevoked(m.Serial) {
		return nil, fmt.Errorf("%w: serial %016x, of the token or membership with which node %v comes; it needs a new token", ErrRevoked, m.Serial, id)
	}
	if err := i.note(r, m, keys, now); err != nil {
		return nil, err
	}
	confirmed := i.cluster.admit(id, m.Serial, now, i.lifetime)
	return &Enrolment{Membership: confirmed, Revocations: r.revocations()}, nil
}

// shown returns the membership on which a node rests, and the keys that lead from
// the membership's to the node's own.
func (i *Issuer) shown(r *rules, id ID, e *Evidence, now time.Time) (*Membership, []ID, error) {
	m := e.Membership
	if m == nil {
		return nil, nil, fmt.Errorf("%w: node %v shows no membership; it needs a token of this cluster", ErrUnknown, id)
	}
	keys := []ID{id}
	for _, s := range e.Successions[:min(len(e.Successions), MaxSuccessions)] {
		at := keys[len(keys)-1]
		if m.Node == at || s.New != at {
			break
		}
		if err := s.Verify(now); err != nil {
			return nil, nil, err
		}
		if r.isRevoked(s.Old) {
			return nil, nil, fmt.Errorf("%w: node %v, which vouches for %v", ErrRevoked, s.Old, id)
		}
		keys = append(keys, s.Old)
	}
	slices.Reverse(keys)
	if m.Node != keys[0] {
		return nil, nil, fmt.Errorf("%w: node %v shows the membership of %v", ErrStatement, id, m.Node)
	}
	return m, keys, nil
}

// note takes down that the last of keys is admitted by m, or refuses.
func (i *Issuer) note(r *rules, m *Membership, keys []ID, now time.Time) error {
	return changeDir(i.path, false, func(d *dir) error {
		all, err := readRegister(d, now, r)
		if err != nil {
			return err
		}
		until := now.Add(i.lifetime) // of what it was given here last, at most
		if m.NotAfter.After(until) {
			until = m.NotAfter
		}
		news, err := all.hand(m.Serial, keys, until, r.isRevoked)
		if err == nil && m.Counted() {
			var counted bool
			counted, err = all.count(keys[len(keys)-1], m.Grant)
			news = news || counted
		}
		if err != nil || !news {
			return err
		}
		return all.write(d)
	})
}

// admit makes node a member with a given serial number.
func (c *Cluster) admit(node ID, serial uint64, now time.Time, lifetime time.Duration) *Membership {
	m := &Membership{
		Cluster: c.ID(), Node: node, Serial: serial,
		NotBefore: seconds(now), NotAfter: seconds(now.Add(lifetime)),
	}
	m.signature = [64]byte(c.key.Sign(domainMembership, m.signed()))
	return m
}

// Enrolment is what a node gets that was enrolled: a membership that the
// cluster's key signed, and the list of the revoked, if there is one.
//
// Encoded it is a byte for the version, two for the membership's length, the
// membership, and the list, which may be missing.
type Enrolment struct {
	Membership  *Membership
	Revocations *RevocationList
}

// MaxEnrolment is the length in bytes of the longest encoded enrolment.
const MaxEnrolment = 3 + MaxMembership + 1 + 32 + 8 + 8 + 4 + 4 + 32*MaxRevoked + SignatureSize

// MarshalBinary implements [encoding.BinaryMarshaler].
func (e *Enrolment) MarshalBinary() ([]byte, error) {
	m, err := e.Membership.MarshalBinary()
	if err != nil {
		return nil, err
	}
	b := append([]byte{statementVersion, byte(len(m)), byte(len(m) >> 8)}, m...)
	if e.Revocations == nil {
		return b, nil
	}
	l, err := e.Revocations.MarshalBinary()
	return append(b, l...), err
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]; it checks the form
// and no signature: see [Enrolment.Verify]. Error: [ErrStatement].
func (e *Enrolment) UnmarshalBinary(b []byte) error {
	*e = Enrolment{}
	if len(b) < 3 || b[0] != statementVersion {
		return fmt.Errorf("%w: %d bytes are no enrolment of version %d", ErrStatement, len(b), statementVersion)
	}
	n := int(b[1]) | int(b[2])<<8
	if b = b[3:]; n > len(b) {
		return fmt.Errorf("%w: an enrolment ends in its membership", ErrStatement)
	}
	e.Membership = new(Membership)
	if err := e.Membership.UnmarshalBinary(b[:n]); err != nil {
		return err
	}
	if b = b[n:]; len(b) == 0 {
		return nil
	}
	e.Revocations = new(RevocationList)
	return e.Revocations.UnmarshalBinary(b)
}

// Verify returns nil if this is an enrolment of node in the cluster, by the
// cluster's own key. Errors: [ErrStatement], [ErrExpired].
func (e *Enrolment) Verify(cluster ClusterID, node ID, now time.Time) error {
	switch {
	case e.Membership.Node != node:
		return fmt.Errorf("%w: a membership of %v, and this node is %v", ErrStatement, e.Membership.Node, node)
	case !e.Membership.Confirmed():
		return fmt.Errorf("%w: a membership that the cluster's key has not signed", ErrStatement)
	}
	if err := e.Membership.Verify(cluster, now); err != nil {
		return err
	}
	if e.Revocations == nil {
		return nil
	}
	if err := e.Revocations.Verify(cluster); err != nil {
		return err
	}
	if slices.Contains(e.Revocations.Serials, e.Membership.Serial) || slices.Contains(e.Revocations.Nodes, node) {
		return fmt.Errorf("%w: the enrolment itself says so", ErrRevoked)
	}
	return nil
}

// SaveEnrolment keeps what a node got in directory path, as [SaveMembership]
// does, with the list of the revoked if that is newer than the one there.
func SaveEnrolment(path string, e *Enrolment) error {
	if err := SaveMembership(path, e.Membership); err != nil || e.Revocations == nil {
		return err
	}
	_, err := SaveRevocations(path, e.Membership.Cluster, e.Revocations)
	return err
}

// SaveRevocations keeps a list of the revoked in directory path, for a node of the
// given cluster, if it is newer than the one there, and reports whether it was.
// Processes that follow the directory heed it; see [Trust.Follow]. Error:
// [ErrStatement] where the cluster has not signed it.
func SaveRevocations(path string, cluster ClusterID, l *RevocationList) (news bool, err error) {
	if err := l.Verify(cluster); err != nil {
		return false, err
	}
	text, err := l.MarshalText()
	if err != nil {
		return false, err
	}
	err = changeDir(path, false, func(d *dir) error {
		old := &RevocationList{}
		data, err := d.readIfThere(fileList)
		if err != nil {
			return err
		}
		if data != nil && old.UnmarshalText(data) == nil && old.Verify(cluster) == nil && old.Counter >= l.Counter {
			return nil
		}
		news = true
		return d.write(fileList, append(text, '\n'))
	})
	return news && err == nil, err
}
