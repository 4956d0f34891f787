package identity

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
)

// SignatureSize is the length of a signature in bytes.
const SignatureSize = ed25519.SignatureSize

// Domain names the purpose of a signature, such as "beacon v1". A signature
// made for one domain is never valid in another: it is Ed25519ctx of RFC 8032,
// section 5.1, with "cell " and the domain as context. TLS signs with plain
// Ed25519, which is apart from all of them.
type Domain string

// The domains of this package.
const (
	domainGrant      Domain = "grant v1"
	domainMembership Domain = "membership v1"
	domainSuccession Domain = "succession v1"
	domainRevocation Domain = "revocation v1"
)

// maxContext is what RFC 8032 allows.
const maxContext = 255

func (d Domain) options() *ed25519.Options {
	context := "cell " + string(d)
	if len(context) > maxContext {
		sum := sha256.Sum256([]byte(d))
		context = "cell#" + hex.EncodeToString(sum[:])
	}
	return &ed25519.Options{Context: context}
}

// Sign signs message for a domain. It returns [SignatureSize] bytes. The same
// message gets the same signature.
func (k *Key) Sign(d Domain, message []byte) []byte {
	// It fails only for hashes and contexts that options never makes.
	sig, err := k.private.Sign(nil, message, d.options())
	if err != nil {
		return make([]byte, SignatureSize) // verifies nowhere
	}
	return sig
}

// Verify reports whether signature is id's of message for the domain. A weak
// id verifies nothing.
func Verify(id ID, d Domain, message, signature []byte) bool {
	return id.Check() == nil && len(signature) == SignatureSize &&
		ed25519.VerifyWithOptions(id.public(), message, signature, d.options()) == nil
}

// tlsSigner lets crypto/tls sign handshakes with the key, and nothing else
// reach the private half.
func (k *Key) tlsSigner() crypto.Signer { return k.private }
