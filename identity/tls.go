package identity

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// ErrOtherPeer: who answered is not who was called.
var ErrOtherPeer = errors.New("identity: another peer than the one that was called")

// ServerTLS returns a configuration for listeners: TLS 1.3, in which both sides
// prove their keys, and the handshake fails unless trust lets the client in.
// protocols are those of ALPN, of which one must be agreed on; with none, ALPN
// is not used.
//
// Trust is asked anew when a session is resumed, so a peer that was revoked
// doesn't come back by a ticket.
func ServerTLS(c *Credentials, trust *Trust, protocols ...string) *tls.Config {
	cfg := baseTLS(c, protocols)
	cfg.ClientAuth = tls.RequireAnyClientCert // verified below, not against an authority
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := trust.CheckConnection(cs, protocols...)
		return err
	}
	return cfg
}

// ClientTLS returns a configuration for a dialer that wants to reach peer, or,
// if that is the zero ID, any node that trust lets in. Everything else is as
// [ServerTLS] has it.
//
// With TLS 1.3 a client's handshake is over before the server has looked at its
// certificate: a refusal comes as the error of the first Read.
func ClientTLS(c *Credentials, trust *Trust, peer ID, protocols ...string) *tls.Config {
	cfg := baseTLS(c, protocols)
	// There are no names to verify: VerifyConnection looks at the key.
	cfg.InsecureSkipVerify = true
	if !peer.IsZero() {
		cfg.ServerName = peer.String() // by which sessions are kept apart
	}
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		p, err := trust.CheckConnection(cs, protocols...)
		if err == nil && !peer.IsZero() && !p.Is(peer) {
			err = fmt.Errorf("%w: %v answered, and %v was called", ErrOtherPeer, p.ID, peer)
		}
		return err
	}
	return cfg
}

// DeferredServerTLS is like [ServerTLS], but lets every client with a key end
// its handshake. Whoever uses it must ask [Trust.CheckConnection] before
// anything else, and can then tell the client why it is refused, which TLS
// has no words for.
func DeferredServerTLS(c *Credentials, protocols ...string) *tls.Config {
	cfg := baseTLS(c, protocols)
	cfg.ClientAuth = tls.RequireAnyClientCert
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		_, _, err := EvidenceOf(cs.PeerCertificates)
		return errors.Join(err, checkProtocol(cs, protocols))
	}
	return cfg
}

func baseTLS(c *Credentials, protocols []string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protocols,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.Certificate(), nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.Certificate(), nil
		},
	}
}

// CheckConnection decides about the peer of a TLS connection; see [Trust.Check].
// If protocols are given, one of them must have been agreed on. A peer whose
// token is counted is refused ([ErrUnknown]), whichever side it is: an Issuer
// that enrols such peers asks Check itself.
func (t *Trust) CheckConnection(cs tls.ConnectionState, protocols ...string) (Peer, error) {
	if err := checkProtocol(cs, protocols); err != nil {
		return Peer{}, err
	}
	id, e, err := EvidenceOf(cs.PeerCertificates)
	if err != nil {
		return Peer{}, err
	}
	p, err := t.Check(id, e)
	if err == nil && p.Enrolling {
		return Peer{}, fmt.Errorf("%w: node %v: a counted token is good for being enrolled and for nothing else", ErrUnknown, id)
	}
	return p, err
}

// checkProtocol makes up for crypto/tls, which lets a peer without ALPN in.
func checkProtocol(cs tls.ConnectionState, protocols []string) error {
	if len(protocols) > 0 && cs.NegotiatedProtocol == "" {
		return fmt.Errorf("%w: the peer has not agreed on a protocol (ALPN); this side speaks %q", ErrOtherPeer, protocols)
	}
	return nil
}
