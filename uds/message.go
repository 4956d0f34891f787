package uds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cell-runtime/cell/wire"
)

// The messages of the handshake. All integers are little endian. The prefix,
// the hello's first four bytes and the refusal are the same in every version,
// so that any two programs can at least tell each other why not.
//
//	prefix   0 "Cell" ─ 4 kind u8 ─ 5 zero u8 ─ 6 body length u16 (≤ 1024)
//	hello    0 lowest version u8 ─ 1 highest u8 ─ 2 path u8 ─ 3 huge u8 ─ 4 ring size u32 ─ 8 max ring u32 ─ 12 max payload u32 ─ 16 why
//	offer    0 version u8 ─ 1 path u8 ─ 2 must u8 ─ 3 zero ─ 4 ring size u32 ─ 8 max payload u32 ─ 12 why
//	accept   0 path u8 ─ 1 zero ×3 ─ 4 why
//	refuse   a wire.ErrorPayload without details
//	why      length u16 (≤ 512) ─ UTF-8
const (
	prefixSize = 8
	maxBody    = 1024
	maxText    = 512

	magic = "Cell"

	// The versions of the protocol on the socket that this package speaks.
	versionLow  = 3
	versionHigh = 3
)

type messageKind uint8

const (
	kindHello  messageKind = 1 // dialer: versions and wishes
	kindOffer  messageKind = 2 // listener: the path; for rings with 2 descriptors
	kindAccept messageKind = 3 // dialer: the path that it takes
	kindRefuse messageKind = 4 // either: a status and a sentence, then the end
)

func (k messageKind) String() string {
	switch k {
	case kindHello:
		return "hello"
	case kindOffer:
		return "offer"
	case kindAccept:
		return "accept"
	case kindRefuse:
		return "refusal"
	}
	return fmt.Sprintf("message %d", uint8(k))
}

// errMessage: bytes that are no message of the handshake.
var errMessage = errors.New("malformed handshake")

type hello struct {
	low, high  uint8
	path       Path
	huge       bool   // the dialer would map huge pages
	ringSize   uint32 // bytes wanted for each direction; 0 leaves it to the listener
	maxRing    uint32 // bytes that the dialer will map for each direction
	maxPayload uint32 // on the stream path
	why        string // why the dialer wants no rings
}

type offer struct {
	version    uint8
	path       Path // PathRing or PathStream
	must       bool // the listener takes no other path
	ringSize   uint32
	maxPayload uint32
	why        string // why no rings
}

type accept struct {
	path Path
	why  string // why not the rings that were offered
}

// appendPrefix begins a message; the body's length is filled in by seal.
func appendPrefix(b []byte, k messageKind) []byte {
	return append(append(b, magic...), byte(k), 0, 0, 0)
}

// seal fills in the length of a message that fills b.
func seal(b []byte) []byte {
	binary.LittleEndian.PutUint16(b[6:], uint16(len(b)-prefixSize))
	return b
}

func parsePrefix(b []byte) (messageKind, int, error) {
	if len(b) < prefixSize || string(b[:4]) != magic {
		return 0, 0, fmt.Errorf("%w: the peer does not speak this protocol (it sent %q first)", errMessage, b)
	}
	k, n := messageKind(b[4]), int(binary.LittleEndian.Uint16(b[6:]))
	switch {
	case k < kindHello || k > kindRefuse:
		return 0, 0, fmt.Errorf("%w: there is no %v", errMessage, k)
	case b[5] != 0:
		return 0, 0, fmt.Errorf("%w: reserved byte set", errMessage)
	case n > maxBody:
		return 0, 0, fmt.Errorf("%w: %v of %d bytes, at most %d are allowed", errMessage, k, n, maxBody)
	}
	return k, n, nil
}

func (h *hello) append(b []byte) []byte {
	b = appendPrefix(b, kindHello)
	b = append(b, h.low, h.high, byte(h.path), boolByte(h.huge))
	b = binary.LittleEndian.AppendUint32(b, h.ringSize)
	b = binary.LittleEndian.AppendUint32(b, h.maxRing)
	b = binary.LittleEndian.AppendUint32(b, h.maxPayload)
	return seal(appendText(b, h.why))
}

// parseVersions reads the part of a hello that every version has.
func parseVersions(b []byte) (low, high uint8, err error) {
	if len(b) < 4 || b[0] == 0 || b[0] > b[1] {
		return 0, 0, fmt.Errorf("%w: hello without a range of versions", errMessage)
	}
	return b[0], b[1], nil
}

// parseHello reads a hello of a dialer with which a version was agreed upon.
// What a newer one appends is ignored.
func parseHello(b []byte) (hello, error) {
	low, high, err := parseVersions(b)
	if err != nil {
		return hello{}, err
	}
	if len(b) < 16 {
		return hello{}, fmt.Errorf("%w: hello of %d bytes", errMessage, len(b))
	}
	h := hello{
		low: low, high: high, path: Path(b[2]), huge: b[3] == 1,
		ringSize:   binary.LittleEndian.Uint32(b[4:]),
		maxRing:    binary.LittleEndian.Uint32(b[8:]),
		maxPayload: binary.LittleEndian.Uint32(b[12:]),
	}
	switch {
	case h.path > pathLast || b[3] > 1:
		return hello{}, fmt.Errorf("%w: hello asks for an unknown path", errMessage)
	case h.ringSize != 0 && !isRingSize(int(h.ringSize)) || !isRingSize(int(h.maxRing)):
		return hello{}, fmt.Errorf("%w: hello asks for rings of %d bytes, at most %d", errMessage, h.ringSize, h.maxRing)
	case h.maxPayload < minPayload || h.maxPayload > maxPayload:
		return hello{}, fmt.Errorf("%w: hello asks for payloads of %d bytes", errMessage, h.maxPayload)
	}
	h.why, _, err = parseText(b[16:])
	return h, err
}

func (o *offer) append(b []byte) []byte {
	b = appendPrefix(b, kindOffer)
	b = append(b, o.version, byte(o.path), boolByte(o.must), 0)
	b = binary.LittleEndian.AppendUint32(b, o.ringSize)
	b = binary.LittleEndian.AppendUint32(b, o.maxPayload)
	return seal(appendText(b, o.why))
}

func parseOffer(b []byte) (offer, error) {
	if len(b) < 12 {
		return offer{}, fmt.Errorf("%w: offer of %d bytes", errMessage, len(b))
	}
	o := offer{
		version: b[0], path: Path(b[1]), must: b[2] == 1,
		ringSize:   binary.LittleEndian.Uint32(b[4:]),
		maxPayload: binary.LittleEndian.Uint32(b[8:]),
	}
	switch {
	case o.path != PathRing && o.path != PathStream || b[2] > 1 || b[3] != 0:
		return offer{}, fmt.Errorf("%w: offer of an unknown path", errMessage)
	case o.path == PathRing && !isRingSize(int(o.ringSize)):
		return offer{}, fmt.Errorf("%w: offer of rings of %d bytes", errMessage, o.ringSize)
	case o.maxPayload < minPayload || o.maxPayload > maxPayload:
		return offer{}, fmt.Errorf("%w: offer of payloads of %d bytes", errMessage, o.maxPayload)
	}
	var err error
	o.why, err = parseLastText(b[12:])
	return o, err
}

func (a *accept) append(b []byte) []byte {
	b = appendPrefix(b, kindAccept)
	return seal(appendText(append(b, byte(a.path), 0, 0, 0), a.why))
}

func parseAccept(b []byte) (accept, error) {
	if len(b) < 4 || b[1]|b[2]|b[3] != 0 || Path(b[0]) != PathRing && Path(b[0]) != PathStream {
		return accept{}, fmt.Errorf("%w: accept of an unknown path", errMessage)
	}
	why, err := parseLastText(b[4:])
	return accept{path: Path(b[0]), why: why}, err
}

func appendRefusal(b []byte, s wire.Status, reason string) []byte {
	p := wire.ErrorPayload{Status: s, Message: printable(reason)}
	return seal(p.Append(appendPrefix(b, kindRefuse)))
}

func parseRefusal(b []byte) (wire.Status, string, error) {
	p, err := wire.DecodeError(b)
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", errMessage, err)
	}
	return p.Status, printable(p.Message), nil
}

func appendText(b []byte, s string) []byte {
	s = printable(s)
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(s))), s...)
}

func parseText(b []byte) (s string, rest []byte, err error) {
	if len(b) < 2 {
		return "", nil, fmt.Errorf("%w: text cut off", errMessage)
	}
	n := int(binary.LittleEndian.Uint16(b))
	if b = b[2:]; n > maxText || n > len(b) {
		return "", nil, fmt.Errorf("%w: text of %d bytes in %d", errMessage, n, len(b))
	}
	return printable(string(b[:n])), b[n:], nil
}

func parseLastText(b []byte) (string, error) {
	s, rest, err := parseText(b)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%w: %d bytes too many", errMessage, len(rest))
	}
	return s, err
}

// printable makes text from a peer harmless for logs and terminals: valid
// UTF-8 without control characters, at most maxText bytes.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	for i := maxText; len(s) > maxText; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}
