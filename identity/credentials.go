package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"sync"
	"sync/atomic"
	"time"
)

// Credentials are what a node shows to its peers: its key, and what speaks for
// it. They may be exchanged while connections use them; handshakes from then on
// show the new ones. All methods may be called by any goroutine.
type Credentials struct {
	mu  sync.Mutex
	now atomic.Pointer[shown]
}

// shown is one state of Credentials, immutable.
type shown struct {
	key         *Key
	membership  *Membership
	successions []*Succession
	chain       [][]byte // DER, the leaf first
	certificate *tls.Certificate
}

// NewCredentials returns credentials of a key alone.
func NewCredentials(k *Key) (*Credentials, error) {
	c := &Credentials{}
	return c, c.change(func(s *shown) { s.key = k })
}

// LoadCredentials returns what lies in directory path: the key, which is made
// if there is none, and what speaks for it.
func LoadCredentials(path string) (*Credentials, error) {
	k, err := LoadOrCreate(path)
	if err != nil {
		return nil, err
	}
	c, err := NewCredentials(k)
	if err != nil {
		return nil, err
	}
	d, err := openDir(path, false)
	if err != nil {
		return nil, err
	}
	defer d.close()
	for _, f := range []struct {
		name, mend string
		read       func([]byte) error
	}{
		{fileSuccession, "restore it, or remove it and have others trust the new id", c.readSuccessions},
		{fileMembership, "restore it, or remove it and join again", c.readMembership},
		{fileChain, "put the organisation's certificate of this node's key there again", c.readChain},
	} {
		data, _, err := d.read(f.name, maxTrustFile, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			if err = f.read(data); err != nil {
				err = fmt.Errorf("%s: %w; %s", d.name(f.name), err, f.mend)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Credentials) readMembership(data []byte) error {
	m := new(Membership)
	if err := m.UnmarshalText(data); err != nil {
		return err
	}
	return c.SetMembership(m)
}

func (c *Credentials) readSuccessions(data []byte) error {
	var all []*Succession
	err := eachLine(data, func(words []string) error {
		s := new(Succession)
		all = append(all, s)
		return s.UnmarshalText([]byte(words[0]))
	})
	if err != nil {
		return err
	}
	// Any of them may lead to a key that never came to be, if whoever made it
	// was killed; see RotateKey. Those are no part of the chain.
	var chain []*Succession
	id := c.ID()
	for _, s := range all {
		if s.New == id && len(chain) < MaxSuccessions {
			chain, id = append(chain, s), s.Old
		}
	}
	return c.SetSuccessions(chain...)
}

func (c *Credentials) readChain(data []byte) error {
	var chain [][]byte
	for block, rest := pem.Decode(data); block != nil && len(chain) <= maxChain; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			chain = append(chain, block.Bytes)
		}
	}
	return c.SetChain(chain)
}

// Key returns the node's private key.
func (c *Credentials) Key() *Key { return c.now.Load().key }

// ID returns who the node is.
func (c *Credentials) ID() ID { return c.Key().ID() }

// Membership returns what SetMembership was given last; nil for none.
func (c *Credentials) Membership() *Membership { return c.now.Load().membership }

// SetMembership shows a membership from now on; nil for none. Error:
// [ErrStatement] if it is not that of this node or of a key that it had.
func (c *Credentials) SetMembership(m *Membership) error {
	return c.change(func(s *shown) { s.membership = m })
}

// SetSuccessions shows from which keys the node's one has taken over, the
// latest first.
func (c *Credentials) SetSuccessions(all ...*Succession) error {
	return c.change(func(s *shown) { s.successions = all })
}

// SetChain shows the certificate that an organisation has signed for the
// node's key, in DER, with the intermediate ones behind it; nil for none. A
// membership and successions are not shown beside it.
func (c *Credentials) SetChain(chain [][]byte) error {
	return c.change(func(s *shown) { s.chain = chain })
}

// Rotate puts another key in the place of the present one and shows s, by which
// the present one vouches for it.
func (c *Credentials) Rotate(next *Key, s *Succession) error {
	return c.change(func(now *shown) {
		now.successions = append([]*Succession{s}, now.successions[:min(len(now.successions), MaxSuccessions-1)]...)
		now.key, now.chain = next, nil
	})
}

func (c *Credentials) change(f func(*shown)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &shown{}
	if old := c.now.Load(); old != nil {
		*s = *old
	}
	f(s)
	if err := s.check(); err != nil {
		return err
	}
	certificate, err := s.makeCertificate()
	if err != nil {
		return err
	}
	s.certificate = certificate
	c.now.Store(s)
	return nil
}

// check refuses what is about somebody else.
func (s *shown) check() error {
	if len(s.successions) > MaxSuccessions {
		return fmt.Errorf("%w: %d successions; %d are followed", ErrStatement, len(s.successions), MaxSuccessions)
	}
	id := s.key.ID()
	belongs := s.membership == nil || s.membership.Node == id
	for _, succession := range s.successions {
		if succession.New != id {
			return fmt.Errorf("%w: a succession to %v, and this node is %v", ErrStatement, succession.New, id)
		}
		id = succession.Old
		belongs = belongs || s.membership.Node == id
	}
	if !belongs {
		return fmt.Errorf("%w: the membership is that of %v, and this node is %v", ErrStatement, s.membership.Node, s.key.ID())
	}
	return nil
}

// Certificate returns the certificate that TLS peers are shown.
func (c *Credentials) Certificate() *tls.Certificate { return c.now.Load().certificate }

// The life of a self-signed certificate: its signature adds nothing to the
// handshake's, and its times nothing to those of what speaks for the key.
var (
	certificateFrom  = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	certificateUntil = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) // "none", RFC 5280, 4.1.2.5
)

func (s *shown) makeCertificate() (*tls.Certificate, error) {
	chain := s.chain
	if chain == nil {
		der, err := s.selfSign()
		if err != nil {
			return nil, err
		}
		chain = [][]byte{der}
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if !isKeyOf(s.key.ID(), leaf) {
		return nil, fmt.Errorf("%w: the organisation's certificate is for another key than the node's; have one made for %v", ErrStatement, s.key.ID())
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: s.key.tlsSigner(), Leaf: leaf}, nil
}

// selfSign makes a certificate (RFC 5280, RFC 8410) whose bytes depend on the
// key and on what is shown alone.
func (s *shown) selfSign() ([]byte, error) {
	var extensions []pkix.Extension
	if s.membership != nil {
		b, err := s.membership.MarshalBinary()
		if err != nil {
			return nil, err
		}
		extensions = append(extensions, pkix.Extension{Id: oidMembership, Value: b})
	}
	if len(s.successions) > 0 {
		var all bytes.Buffer
		for _, succession := range s.successions {
			b, err := succession.MarshalBinary()
			if err != nil {
				return nil, err
			}
			all.Write(b)
		}
		extensions = append(extensions, pkix.Extension{Id: oidSuccessions, Value: all.Bytes()})
	}
	id := s.key.ID()
	hash := sha256.New()
	hash.Write(id[:])
	for _, x := range extensions {
		hash.Write(x.Value)
	}
	serial := new(big.Int).SetBytes(hash.Sum(nil)[:8])
	der, err := x509.CreateCertificate(nil, &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: id.Short()},
		NotBefore:    certificateFrom, NotAfter: certificateUntil,
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		ExtraExtensions: extensions,
	}, &x509.Certificate{Subject: pkix.Name{CommonName: id.Short()}}, s.key.private.Public(), s.key.private)
	if err != nil {
		return nil, fmt.Errorf("identity: making a certificate: %w", err)
	}
	return der, nil
}
