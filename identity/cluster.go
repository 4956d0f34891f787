package identity

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"
)

// ClusterID is a cluster's public key, by which members recognise each other's
// memberships. It is no secret, and no node's ID.
type ClusterID [32]byte

// ParseClusterID reads what [ClusterID.String] wrote.
func ParseClusterID(text string) (ClusterID, error) {
	id, err := parseKeyText(textCluster, "a cluster's id", text)
	return ClusterID(id), err
}

// String returns the form that people copy: "cellcluster1" and 56 letters and
// digits.
func (c ClusterID) String() string { return encodeText(textCluster, c[:]) }

// IsZero reports whether it is no cluster.
func (c ClusterID) IsZero() bool { return c == ClusterID{} }

// MarshalText implements [encoding.TextMarshaler].
func (c ClusterID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *ClusterID) UnmarshalText(text []byte) (err error) {
	*c, err = ParseClusterID(string(text))
	return err
}

// Cluster is a cluster's private key. Whoever holds it decides who belongs to
// the cluster: it lies on the node where tokens are made, or on none that is
// online.
type Cluster struct{ key *Key }

// NewCluster returns a new cluster, kept nowhere; see [CreateCluster].
func NewCluster() (*Cluster, error) {
	k, err := Generate()
	return &Cluster{key: k}, err
}

// ClusterFromSeed returns the cluster of 32 secret bytes.
func ClusterFromSeed(seed [32]byte) *Cluster { return &Cluster{key: FromSeed(seed)} }

// CreateCluster returns the cluster whose private key lies in directory path,
// and makes it if there is none, as [LoadOrCreate] does for a node's.
func CreateCluster(path string) (*Cluster, error) {
	k, err := loadOrCreate(path, fileClusterKey)
	if err != nil {
		return nil, err
	}
	return &Cluster{key: k}, nil
}

// LoadCluster returns the cluster whose private key lies in directory path. The
// error wraps fs.ErrNotExist if there is none.
func LoadCluster(path string) (*Cluster, error) {
	k, err := loadKey(path, fileClusterKey)
	if err != nil {
		return nil, err
	}
	return &Cluster{key: k}, nil
}

// ID returns the public half.
func (c *Cluster) ID() ClusterID { return ClusterID(c.key.ID()) }

// String returns the ID: nothing secret.
func (c *Cluster) String() string { return c.ID().String() }

// Admit makes node a member from now on for lifetime.
func (c *Cluster) Admit(node ID, now time.Time, lifetime time.Duration) (*Membership, error) {
	if err := node.Check(); err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	return c.admit(node, serial, now, lifetime), nil
}

// NewToken makes a token by which nodes may join from now on for lifetime;
// uses is how many, 0 for any number. See [Token] for what that means.
func (c *Cluster) NewToken(now time.Time, lifetime time.Duration, uses uint32) (*Token, error) {
	if lifetime < time.Second {
		return nil, fmt.Errorf("identity: a token that is valid for %v is of no use; give it at least a second", lifetime)
	}
	delegate, err := Generate()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	return c.newToken(delegate, serial, now, lifetime, uses), nil
}

func (c *Cluster) newToken(delegate *Key, serial uint64, now time.Time, lifetime time.Duration, uses uint32) *Token {
	g := Grant{
		Cluster: c.ID(), Delegate: delegate.ID(), Serial: serial,
		NotBefore: seconds(now), NotAfter: seconds(now.Add(lifetime)), Uses: uses,
	}
	g.signature = [64]byte(c.key.Sign(domainGrant, g.signed()))
	return &Token{Grant: g, delegate: delegate}
}

// newSerial returns a random number other than 0.
func newSerial() (uint64, error) {
	var b [8]byte
	for {
		if _, err := rand.Read(b[:]); err != nil {
			return 0, fmt.Errorf("identity: no randomness for a serial number: %w", err)
		}
		if n := binary.LittleEndian.Uint64(b[:]); n != 0 {
			return n, nil
		}
	}
}
