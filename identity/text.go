package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// ErrText: a text is not what it should be: mistyped, cut off, or of another
// kind.
var ErrText = errors.New("identity: malformed text")

// Everything that people copy has one form: a prefix that names the kind, then
// base32 in lower case (RFC 4648, no padding) of the content and a checksum.
// There is no character in it at which a double click would stop. The checksum
// is as long as it takes to fill whole groups of eight characters, so no bits
// are left over that two spellings could differ in.
const (
	textID         = "cell1"
	textCluster    = "cellcluster1"
	textToken      = "celltoken1"
	textMembership = "cellmember1"
	textSuccession = "cellsuccession1"
	textRevoked    = "cellrevoked1"

	minChecksum = 3
	// maxText bounds what is looked at at all: the longest is a list of
	// revocations.
	maxText = 1 << 20
)

var textEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// checksumSize returns how many bytes of checksum follow n bytes of content.
func checksumSize(n int) int { return minChecksum + (5-(n+minChecksum)%5)%5 }

func checksum(prefix string, content []byte) []byte {
	h := sha256.New()
	h.Write([]byte("cell text\x00" + prefix + "\x00"))
	h.Write(content)
	return h.Sum(nil)[:checksumSize(len(content))]
}

// encodeText returns content in the form that people copy.
func encodeText(prefix string, content []byte) string {
	return prefix + textEncoding.EncodeToString(append(bytes.Clone(content), checksum(prefix, content)...))
}

// decodeText is the inverse of encodeText. White space around the text is
// ignored and so is case; anything else must be exact.
func decodeText(prefix, what, text string) ([]byte, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("%w: %s of %d characters; the longest has %d", ErrText, what, len(text), maxText)
	}
	text = strings.ToLower(strings.TrimSpace(text))
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return nil, fmt.Errorf("%w: %s begins with %q, and this begins with %.16q; copy it again", ErrText, what, prefix, text)
	}
	raw, err := textEncoding.DecodeString(rest)
	// The decoder itself overlooks a group that is not whole, and line ends.
	if err != nil || len(rest)%8 != 0 || strings.ContainsAny(rest, "\r\n") {
		return nil, fmt.Errorf("%w: %s has characters that can't occur in one, or was cut off; copy it again", ErrText, what)
	}
	// How much of it is the checksum follows from the content's length, which
	// is found by trying: five possibilities.
	for n := minChecksum; n < minChecksum+5 && n <= len(raw); n++ {
		content, sum := raw[:len(raw)-n], raw[len(raw)-n:]
		if checksumSize(len(content)) == n && bytes.Equal(sum, checksum(prefix, content)) {
			return content, nil
		}
	}
	return nil, fmt.Errorf("%w: the checksum of %s is wrong: a character was mistyped or lost; copy it again", ErrText, what)
}
