package discovery

import (
	"crypto/x509"
	"encoding/binary"
	"fmt"

	"github.com/cell-runtime/cell/identity"
)

// The parts of a node's credentials: type u8, length u16, content.
const (
	partMembership = 1 // identity.Membership
	partSuccession = 2 // identity.Succession, the latest first
	partChain      = 3 // a certificate in DER, the leaf first
)

// FromIdentity fills in what a [Config] needs to know of who this node is and
// whom it trusts: Cluster, Node, Signer, Trust, Admit and Credentials. Nodes that
// trust one identity.ClusterID are one cluster; without one, those that named is
// given to.
func FromIdentity(c *Config, mine *identity.Credentials, trust *identity.Trust, named string) {
	c.Cluster = NamedCluster("name " + named)
	if id := trust.Cluster(); !id.IsZero() {
		c.Cluster = NamedCluster(id.String())
	}
	c.Node = mine.ID()
	c.Signer = identitySigner{mine.Key()}
	c.Trust = func(id ID) Trust { return standing(trust, id) }
	c.Admit = func(id ID, shown []byte) Trust { return admit(trust, id, shown) }
	c.Credentials = func() []byte { return encodeCredentials(mine) }
}

type identitySigner struct{ key *identity.Key }

func (s identitySigner) Sign(message []byte) []byte { return s.key.Sign(Domain, message) }

func standing(t *identity.Trust, id ID) Trust {
	switch revoked, allowed, open := t.Standing(id); {
	case revoked:
		return Distrusted
	case allowed:
		return ByName
	case open:
		return Unproven
	}
	return Distrusted
}

// encodeCredentials packs what speaks for a node besides its key, as far as it
// fits: an organisation's chain may not, and then an allow list must do.
func encodeCredentials(mine *identity.Credentials) []byte {
	var out []byte
	add := func(part byte, content []byte) {
		if len(content) > 0 && len(out)+sectionHead+len(content) <= MaxCredentials {
			out = append(out, part)
			out = binary.LittleEndian.AppendUint16(out, uint16(len(content)))
			out = append(out, content...)
		}
	}
	if m := mine.Membership(); m != nil {
		if b, err := m.MarshalBinary(); err == nil {
			add(partMembership, b)
		}
	}
	_, shown, err := evidenceOf(mine)
	if err != nil {
		return out
	}
	for _, s := range shown.Successions {
		if b, err := s.MarshalBinary(); err == nil {
			add(partSuccession, b)
		}
	}
	for _, c := range shown.Chain {
		add(partChain, c.Raw)
	}
	return out
}

// evidenceOf returns what a node shows in a TLS handshake.
func evidenceOf(mine *identity.Credentials) (ID, identity.Evidence, error) {
	var chain []*x509.Certificate
	for _, der := range mine.Certificate().Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return ID{}, identity.Evidence{}, err
		}
		chain = append(chain, c)
	}
	return identity.EvidenceOf(chain)
}

// decodeCredentials reads what encodeCredentials wrote, believing nothing of it.
func decodeCredentials(p []byte) (e identity.Evidence, err error) {
	for len(p) > 0 {
		if len(p) < sectionHead || int(binary.LittleEndian.Uint16(p[1:])) > len(p)-sectionHead {
			return e, fmt.Errorf("%w: credentials cut", ErrBody)
		}
		part, size := p[0], int(binary.LittleEndian.Uint16(p[1:]))
		content := p[sectionHead : sectionHead+size]
		p = p[sectionHead+size:]
		switch part {
		case partMembership:
			e.Membership = new(identity.Membership)
			err = e.Membership.UnmarshalBinary(content)
		case partSuccession:
			s := new(identity.Succession)
			err = s.UnmarshalBinary(content)
			e.Successions = append(e.Successions, s)
		case partChain:
			var c *x509.Certificate
			c, err = x509.ParseCertificate(content)
			e.Chain = append(e.Chain, c)
		}
		if err != nil {
			return e, fmt.Errorf("%w: credentials: %w", ErrBody, err)
		}
	}
	return e, nil
}

func admit(t *identity.Trust, id ID, shown []byte) Trust {
	e, err := decodeCredentials(shown)
	if err != nil {
		return Distrusted
	}
	p, err := t.Check(id, e)
	switch {
	case err != nil || p.Enrolling:
		return Distrusted
	case p.By == identity.ByAllowList:
		return ByName
	}
	return ByKey
}
