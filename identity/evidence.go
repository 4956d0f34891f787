package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
)

// Evidence is what a node shows besides its key.
type Evidence struct {
	Membership *Membership
	// Successions lead from keys that the node had before to the one it has,
	// the latest first.
	Successions []*Succession
	// Chain is the certificate that an organisation signed for the node's
	// key, and the intermediate ones.
	Chain []*x509.Certificate
}

// MaxSuccessions bounds how many successions are followed.
const MaxSuccessions = 4

// A membership and successions travel as extensions of the self-signed
// certificate. The object identifiers are of the arc for UUIDs (2.25), which
// anybody may use; 1128614988 is "CELL" in ASCII.
var (
	oidMembership  = asn1.ObjectIdentifier{2, 25, 1128614988, 1}
	oidSuccessions = asn1.ObjectIdentifier{2, 25, 1128614988, 2}
)

// maxChain bounds the certificates of a peer that are looked at.
const maxChain = 8

// EvidenceOf reads who a TLS peer is, which the handshake has proved, and what
// it shows, which nobody has checked yet. Errors: [ErrStatement], [ErrWeak].
func EvidenceOf(certificates []*x509.Certificate) (ID, Evidence, error) {
	if len(certificates) == 0 || len(certificates) > maxChain {
		return ID{}, Evidence{}, fmt.Errorf("%w: the peer shows %d certificates; one with its key is needed, and at most %d are looked at",
			ErrStatement, len(certificates), maxChain)
	}
	leaf := certificates[0]
	key, ok := leaf.PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != ed25519.PublicKeySize {
		return ID{}, Evidence{}, fmt.Errorf("%w: the peer's certificate has a key of type %s; a node's is Ed25519", ErrStatement, leaf.PublicKeyAlgorithm)
	}
	id := ID(key)
	if err := id.Check(); err != nil {
		return ID{}, Evidence{}, err
	}
	e := Evidence{}
	for _, x := range leaf.Extensions {
		var err error
		switch {
		case x.Id.Equal(oidMembership):
			e.Membership = new(Membership)
			err = e.Membership.UnmarshalBinary(x.Value)
		case x.Id.Equal(oidSuccessions):
			e.Successions, err = parseSuccessions(x.Value)
		}
		if err != nil {
			return ID{}, Evidence{}, err
		}
	}
	if len(certificates) > 1 || leaf.Issuer.String() != leaf.Subject.String() {
		e.Chain = certificates
	}
	return id, e, nil
}

func parseSuccessions(b []byte) ([]*Succession, error) {
	if len(b)%successionSize != 0 || len(b) > MaxSuccessions*successionSize {
		return nil, fmt.Errorf("%w: %d bytes of successions; there are at most %d of %d", ErrStatement, len(b), MaxSuccessions, successionSize)
	}
	var all []*Succession
	for ; len(b) > 0; b = b[successionSize:] {
		s := new(Succession)
		if err := s.UnmarshalBinary(b[:successionSize]); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// isKeyOf reports whether the certificate is for id's key.
func isKeyOf(id ID, c *x509.Certificate) bool {
	key, ok := c.PublicKey.(ed25519.PublicKey)
	return ok && len(key) == ed25519.PublicKeySize && ID(key) == id
}
