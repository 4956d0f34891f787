package discovery

import (
	"crypto/hmac"
)

// Opener checks pheromones that arrive, the cheap checks first: form, cluster,
// MAC; then what the caller knows of the node (see [Screen]); the signature,
// which costs as much as a hundred MACs, last. It belongs to one goroutine.
type Opener struct {
	cluster  [8]byte
	mac      mac
	verifier Verifier
}

// NewOpener returns an opener for the pheromones of a cluster. A nil verifier
// means [Ed25519].
func NewOpener(c Cluster, v Verifier) *Opener {
	if v == nil {
		v = Ed25519
	}
	return &Opener{cluster: c.ID, mac: newMAC(c), verifier: v}
}

// Screen is asked about a pheromone whose form and MAC are right and whose
// signature was not looked at yet: nil, or why it is dropped.
type Screen func(e *Envelope) error

// Open checks p, fills in e, and returns the body, which lies in p. Nothing is
// allocated for what is dropped before its signature is looked at. screen may
// be nil.
//
// Errors, in the order of the checks: [ErrTruncated], [ErrOversized],
// [ErrMagic], [ErrVersion], [ErrKind], [ErrCluster], [ErrMAC], what screen
// returns, [ErrSignature].
func (o *Opener) Open(p []byte, e *Envelope, screen Screen) ([]byte, error) {
	if err := parseEnvelope(p, e); err != nil {
		return nil, err
	}
	if e.Cluster != o.cluster {
		return nil, ErrCluster
	}
	signed := p[:len(p)-signatureSize]
	if mac := o.mac.of(signed[:len(signed)-macSize]); !hmac.Equal(mac, signed[len(signed)-macSize:]) {
		return nil, ErrMAC
	}
	if screen != nil {
		if err := screen(e); err != nil {
			return nil, err
		}
	}
	if !o.verifier.Verify(e.Node, signed, p[len(signed):]) {
		return nil, ErrSignature
	}
	return body(p), nil
}
