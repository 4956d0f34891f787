package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrWeak: a public key of small order, for which anybody can make signatures.
var ErrWeak = errors.New("identity: weak key")

// ID is who a node is: its Ed25519 public key. The zero ID is nobody.
type ID [32]byte

// ParseID reads what [ID.String] wrote. Errors: [ErrText], [ErrWeak].
func ParseID(text string) (ID, error) { return parseKeyText(textID, "a node's id", text) }

func parseKeyText(prefix, what, text string) (ID, error) {
	content, err := decodeText(prefix, what, text)
	if err != nil {
		return ID{}, err
	}
	if len(content) != len(ID{}) {
		return ID{}, fmt.Errorf("%w: %s has %d bytes, not %d", ErrText, what, len(content), len(ID{}))
	}
	return ID(content), ID(content).Check()
}

// String returns the ID as people copy it: "cell1" and 56 letters and digits,
// the last of which are a checksum. [ParseID] is the inverse.
func (id ID) String() string { return encodeText(textID, id[:]) }

// Short returns the beginning of String, enough to tell a few nodes apart in a
// log. It proves nothing: a key with a given beginning is easily made.
func (id ID) Short() string { return id.String()[:len(textID)+8] }

// IsZero reports whether the ID is nobody's.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText implements [encoding.TextMarshaler].
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}

// public returns the ID as crypto/ed25519 has it.
func (id ID) public() ed25519.PublicKey { return id[:] }

// Compare orders IDs by their bytes.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// Check refuses IDs that no honest node has: the points of small order, among
// them the zero ID. Verification as RFC 8032 has it accepts them, and then
// signatures that prove nothing.
func (id ID) Check() error {
	y := id
	y[31] &= 0x7f // the sign of x
	for _, small := range smallOrder {
		if y == small {
			return fmt.Errorf("%w: %x is a point of small order", ErrWeak, id[:4])
		}
	}
	return nil
}

// smallOrder are the encodings of y, less the sign bit, of the eight points
// whose order divides 8, also those that are not reduced modulo p = 2^255-19.
var smallOrder = [...]ID{
	fromHex("0000000000000000000000000000000000000000000000000000000000000000"),
	fromHex("0100000000000000000000000000000000000000000000000000000000000000"),
	fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
	fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
	fromHex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // p-1
	fromHex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // p
	fromHex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // p+1
}

// fromHex is for the constants above; a wrong one would leave a zero, which is
// in the list anyway, and fail the test.
func fromHex(s string) (id ID) {
	_, _ = hex.Decode(id[:], []byte(s))
	return id
}
