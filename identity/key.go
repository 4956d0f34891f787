package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// ErrKey: a key file does not hold a usable key.
var ErrKey = errors.New("identity: unusable key")

// Key is a node's private key. It is safe for use by several goroutines.
type Key struct {
	private ed25519.PrivateKey
	id      ID
}

// Generate returns a new key, which is kept nowhere; [LoadOrCreate] keeps it.
func Generate() (*Key, error) {
	var seed [ed25519.SeedSize]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("identity: no randomness for a new key: %w", err)
	}
	return FromSeed(seed), nil
}

// FromSeed returns the key that RFC 8032 derives from 32 secret bytes. It is
// for tests and for whoever keeps keys elsewhere.
func FromSeed(seed [32]byte) *Key {
	private := ed25519.NewKeyFromSeed(seed[:])
	return &Key{private: private, id: ID(private[ed25519.SeedSize:])}
}

// ID returns the public half.
func (k *Key) ID() ID { return k.id }

// seed returns the secret.
func (k *Key) seed() (s [ed25519.SeedSize]byte) {
	copy(s[:], k.private)
	return s
}

// String returns the ID, so that a key which is printed by mistake shows
// nothing secret.
func (k *Key) String() string { return k.id.String() }

// GoString is String: %#v shows nothing secret either.
func (k *Key) GoString() string { return "identity.Key(" + k.id.String() + ")" }

const pemKey = "PRIVATE KEY"

// marshal returns the key in PKCS #8 as PEM (RFC 8410), which openssl reads.
func (k *Key) marshal() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

// parseKey is the inverse of marshal. Error: ErrKey.
func parseKey(data []byte) (*Key, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemKey {
		return nil, fmt.Errorf("%w: no PEM block %q", ErrKey, pemKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: not PKCS #8: %w", ErrKey, err)
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: a %T; a node's key is Ed25519", ErrKey, parsed)
	}
	return FromSeed([ed25519.SeedSize]byte(private.Seed())), nil
}
