package can

import (
	"encoding/binary"

	"github.com/cell-runtime/cell/wire"
)

// Form says how much of its header a vesicle has to carry on the bus, and with
// it how many frames it needs.
type Form struct {
	// Plain: the kind is request, reply, event, item or credit, and no flag
	// but FlagEnd and the priority is set.
	Plain bool
	// Routed: the fingerprint is in the table agreed at hello.
	Routed bool
	// Foreseen: the correlation is one that the peer can work out.
	Foreseen bool
	// Usual: channel and hops are those of the vesicle before.
	Usual bool
}

// ShortPayload is the most payload bytes that travel with a short header, in
// one classic frame.
const ShortPayload = ClassicData - 1

// Short reports whether a vesicle of n payload bytes travels with the short
// header: one byte beside the identifier, in a frame of one of the classes
// ClassRequest to ClassCredit.
func (f Form) Short(n int) bool {
	return f == Form{true, true, true, true} && n <= ShortPayload
}

// Prefix returns how many bytes stand before the payload of a vesicle that
// travels with ClassStart: 3, and 1 or 4 for the correlation, 2 for channel and
// hops unless they are usual, 8 for a fingerprint without a route.
func (f Form) Prefix() int {
	n := startFixed + 1
	if !f.Foreseen {
		n += 3
	}
	if !f.Usual {
		n += 2
	}
	if !f.Routed {
		n += 8
	}
	return n
}

// Frames returns how many frames carry a vesicle of n payload bytes, where one
// has room for size (ClassicData or FDData): 1 with the short header; 1 if
// prefix and payload fit one frame; else all frames but the last are full, with
// a CRC of 2 bytes at the end: ⌈(Prefix + n + 2) / size⌉.
//
// Flow control comes on top: one frame back for every half window.
func (f Form) Frames(n, size int) int {
	content := f.Prefix() + n
	if f.Short(n) || content <= size {
		return 1
	}
	return ceilDiv(content+checkSize, size)
}

const (
	startFixed = 3 // bytes of a start that say how long the rest is
	checkSize  = 2 // CRC-16 behind what takes more than one frame
	maxPrefix  = startFixed + 4 + 2 + 8

	// maxContent is the most that the 14 bits of a start's length can say.
	maxContent = 1<<14 - 1
	// MaxPayload is the most payload bytes of one vesicle on any link.
	MaxPayload = maxContent - maxPrefix

	// noRoute is the route number of a fingerprint that is in no table.
	noRoute = 63
	// MaxRoutes is how many fingerprints two nodes can agree on, together.
	MaxRoutes = noRoute
)

// The first byte of a start. The kind, less one, is in the lowest three bits,
// and firstNumber is in it too.
const (
	startMore     = 1 << 3
	startEnd      = 1 << 4
	startFragment = 1 << 6
	startWide     = 1 << 7 // a correlation of 4 bytes, not a token

	startExplicit = 1 << 14 // in the 16 bits of the length: channel and hops follow
	startDeadline = 1 << 15 // there too
)

// The byte of a short header, and the token within it; firstNumber is in it too.
const (
	shortEnd  = 1 << 7
	tokenStep = 1 << 6 // the rest is the place in the table
)

// The number of a data frame. A further part has its low 9 bits as detail. All
// others have the low 3 bits behind the route in the detail, and a fourth one in
// the first byte, for which neither a token nor a start has another use.
const (
	sequenceBits = 3
	sequenceMask = 1<<sequenceBits - 1
	firstNumber  = 1 << 5
	firstShift   = 5 - sequenceBits

	// distinct is how many frames the four bits tell apart, and so how many may
	// be under way when one with no more of its number is sent.
	distinct = 1 << (sequenceBits + 1)
)

// shortClass returns the class for the short header of kind k; ok is false if
// there is none.
func shortClass(k wire.Kind) (c Class, ok bool) {
	switch k {
	case wire.KindRequest:
		return ClassRequest, true
	case wire.KindReply:
		return ClassReply, true
	case wire.KindEvent:
		return ClassEvent, true
	case wire.KindStreamItem:
		return ClassItem, true
	case wire.KindCredit:
		return ClassCredit, true
	}
	return 0, false
}

// shortKinds is the inverse, by class.
var shortKinds = [...]wire.Kind{
	ClassRequest: wire.KindRequest, ClassReply: wire.KindReply, ClassEvent: wire.KindEvent,
	ClassItem: wire.KindStreamItem, ClassCredit: wire.KindCredit,
}

// putPrefix writes what stands before the payload of h in a start and returns
// its length. route is noRoute or the fingerprint's, token counts if foreseen.
func putPrefix(b *[maxPrefix]byte, h *wire.Header, f Form, token byte) int {
	first := byte(h.Kind - 1)
	for _, v := range [...]struct {
		flag wire.Flags
		bit  byte
	}{{wire.FlagMore, startMore}, {wire.FlagEnd, startEnd}, {wire.FlagFragment, startFragment}} {
		if h.Flags&v.flag != 0 {
			first |= v.bit
		}
	}
	n := startFixed
	if f.Foreseen {
		b[n] = token
		n++
	} else {
		first |= startWide
		binary.LittleEndian.PutUint32(b[n:], h.Correlation)
		n += 4
	}
	if !f.Usual {
		b[n], b[n+1] = byte(h.Channel), h.Hops
		n += 2
	}
	if !f.Routed {
		binary.LittleEndian.PutUint64(b[n:], h.Fingerprint)
		n += 8
	}
	length := uint16(n) + uint16(h.Length)
	if !f.Usual {
		length |= startExplicit
	}
	if h.Flags&wire.FlagDeadline != 0 {
		length |= startDeadline
	}
	b[0] = first
	binary.LittleEndian.PutUint16(b[1:], length)
	return n
}

// startSizes reads the first bytes of a start: how long the prefix is, and the
// content with it. ok is false if they can't be the beginning of one.
func startSizes(b []byte, routed bool) (prefix, content int, ok bool) {
	if len(b) < startFixed {
		return 0, 0, false
	}
	length := binary.LittleEndian.Uint16(b[1:])
	f := Form{Routed: routed, Foreseen: b[0]&startWide == 0, Usual: length&startExplicit == 0}
	prefix, content = f.Prefix(), int(length&maxContent)
	return prefix, content, content >= prefix
}

// startFlags returns kind and flags of a start's first byte and length, but for
// the priority, which is in the identifier.
func startFlags(first byte, length uint16) (k wire.Kind, f wire.Flags) {
	if first&startMore != 0 {
		f |= wire.FlagMore
	}
	if first&startEnd != 0 {
		f |= wire.FlagEnd
	}
	if length&startDeadline != 0 {
		f |= wire.FlagDeadline
	}
	if first&startFragment != 0 {
		f |= wire.FlagFragment
	}
	return wire.Kind(first&7) + 1, f
}
