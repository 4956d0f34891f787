package discovery

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

// Domain is the purpose for which pheromones are signed: the context of
// Ed25519ctx (RFC 8032, section 5.1) is "cell " and this, so that no signature
// of a node made for something else can pass for a pheromone's.
const Domain = "pheromone v1"

const signContext = "cell " + Domain

// Cluster is who belongs together. Nodes of different clusters take no notice of
// each other.
type Cluster struct {
	// ID stands in every pheromone in the clear.
	ID [8]byte
	// key makes MACs, if the cluster has one.
	key []byte
}

// NewCluster returns the cluster whose members share a secret. The ID and the
// key of the MACs are derived from it, so that somebody with another secret is
// of another cluster.
func NewCluster(secret []byte) Cluster {
	derive := func(purpose string) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(purpose))
		return h.Sum(nil)
	}
	return Cluster{ID: [8]byte(derive("cell pheromone cluster v1")), key: derive("cell pheromone MAC v1")}
}

// NamedCluster returns a cluster without a secret: anybody may call himself a
// member, and only an allow list says who is.
func NamedCluster(name string) Cluster {
	sum := sha256.Sum256([]byte("cell pheromone cluster name v1\x00" + name))
	return Cluster{ID: [8]byte(sum[:])}
}

// Keyed reports whether the cluster's pheromones carry MACs.
func (c Cluster) Keyed() bool { return c.key != nil }

// mac computes the MACs of a cluster without allocating.
type mac struct {
	h   hash.Hash // nil: none
	sum [sha256.Size]byte
}

func newMAC(c Cluster) mac {
	if !c.Keyed() {
		return mac{}
	}
	return mac{h: hmac.New(sha256.New, c.key)}
}

// of returns the MAC of data, valid until the next call.
func (m *mac) of(data []byte) []byte {
	if m.h == nil {
		clear(m.sum[:macSize])
		return m.sum[:macSize]
	}
	m.h.Reset()
	m.h.Write(data)
	return m.h.Sum(m.sum[:0])[:macSize]
}

// A Signer signs a node's pheromones: Ed25519ctx with the context of [Domain].
type Signer interface {
	// Sign returns the 64 bytes of the signature of message.
	Sign(message []byte) []byte
}

// A Verifier checks what a [Signer] made.
type Verifier interface {
	Verify(node ID, message, signature []byte) bool
}

// signKey signs with a private key that this process holds.
type signKey ed25519.PrivateKey

var ed25519Context = &ed25519.Options{Context: signContext}

// KeySigner returns the signer of a private key, and the ID that belongs to it.
func KeySigner(private ed25519.PrivateKey) (Signer, ID) {
	return signKey(private), ID(private.Public().(ed25519.PublicKey))
}

func (k signKey) Sign(message []byte) []byte {
	signature, err := ed25519.PrivateKey(k).Sign(nil, message, ed25519Context)
	if err != nil { // only for hashes and contexts that are not these
		return make([]byte, signatureSize)
	}
	return signature
}

// Ed25519 verifies signatures as the format has them.
var Ed25519 Verifier = ed25519Verifier{}

type ed25519Verifier struct{}

func (ed25519Verifier) Verify(node ID, message, signature []byte) bool {
	// Under a weak key anybody's signature holds.
	return node.Check() == nil && ed25519.VerifyWithOptions(node[:], message, signature, ed25519Context) == nil
}

// Sealer makes pheromones of one node.
type Sealer struct {
	cluster Cluster
	node    ID
	signer  Signer
	mac     mac
}

// NewSealer returns a sealer for a member of the cluster.
func NewSealer(c Cluster, node ID, s Signer) *Sealer {
	return &Sealer{cluster: c, node: node, signer: s, mac: newMAC(c)}
}

// Seal returns the pheromone with e's envelope, of which Cluster and Node are
// filled in, and body. The error wraps [ErrOversized].
func (s *Sealer) Seal(e *Envelope, body []byte) ([]byte, error) {
	if len(body) > MaxBody {
		return nil, fmt.Errorf("%w: a body of %d bytes, and %d fit", ErrOversized, len(body), MaxBody)
	}
	e.Cluster, e.Node = s.cluster.ID, s.node
	p := appendEnvelope(make([]byte, 0, MinPacket+len(body)), e)
	p = append(p, body...)
	binary.LittleEndian.PutUint16(p[6:], uint16(len(p)+tailSize))
	p = append(p, s.mac.of(p)...)
	return append(p, s.signer.Sign(p)...), nil
}
