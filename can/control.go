package can

import "encoding/binary"

// A control frame has an operation in the upper three bits of its detail and
// an argument in the lower six, and at most 8 bytes of data, little endian.
const (
	opHello  = 0 // who this is, and what it can do
	opRoute  = 1 // one fingerprint; its place is the argument
	opReady  = 2 // the peer's hello and routes have arrived
	opFlow   = 3 // how many data frames have been taken, how many more may come
	opResume = 4 // the sender goes back; it wants to know to where
	opBye    = 5 // the end

	opShift      = 6
	argumentMask = 1<<opShift - 1
)

// protocolVersion is in the upper half of a hello's first byte. There, and in the
// bit that asks for an answer, the hellos of all versions are alike.
const (
	protocolVersion = 2
	// oldestVersion is the first; nodes of it say nothing to those of others.
	oldestVersion = 1
)

// hello is what each side says first.
//
//	0 version, flags ─ 1 window ─ 2 maximal payload u16 ─ 4 session u16
//	6 routes ─ 7 table bits
type hello struct {
	version    uint8
	fd         bool // can do FD, on a bus that carries it
	keeps      bool // keeps the peer's routes
	asks       bool // lacks the peer's hello, a route, or its ready
	window     uint8
	maxPayload uint16
	session    uint16 // of this link, at random, never 0
	routes     uint8
	bits       uint8 // of the memory's tables
}

const (
	helloFD    = 1 << 0
	helloKeeps = 1 << 1
	helloAsks  = 1 << 2
	helloFlags = helloFD | helloKeeps | helloAsks
)

// The least that a peer must offer. A window of less than 4 frames would make
// every frame wait for flow control.
const (
	minWindow     = 4
	maxWindow     = 250
	minMaxPayload = 20 // link.MinFragmentPayload
)

func (h *hello) put(b []byte) int {
	b[0] = h.version << 4
	if h.fd {
		b[0] |= helloFD
	}
	if h.keeps {
		b[0] |= helloKeeps
	}
	if h.asks {
		b[0] |= helloAsks
	}
	b[1] = h.window
	binary.LittleEndian.PutUint16(b[2:], h.maxPayload)
	binary.LittleEndian.PutUint16(b[4:], h.session)
	b[6], b[7] = h.routes, h.bits
	return 8
}

// load decodes a hello; ok is false if it can't be one. Of one of another version
// no more is read than the version, and whether it asks.
func (h *hello) load(b []byte) (ok bool) {
	if len(b) != 8 {
		return false
	}
	if *h = (hello{version: b[0] >> 4, asks: b[0]&helloAsks != 0}); h.version != protocolVersion {
		return true
	}
	*h = hello{
		version: protocolVersion, fd: b[0]&helloFD != 0, keeps: b[0]&helloKeeps != 0, asks: b[0]&helloAsks != 0, window: b[1],
		maxPayload: binary.LittleEndian.Uint16(b[2:]), session: binary.LittleEndian.Uint16(b[4:]),
		routes: b[6], bits: b[7],
	}
	return b[0]&0xf&^helloFlags == 0 && h.window >= minWindow && h.window <= maxWindow &&
		h.maxPayload >= minMaxPayload && h.maxPayload <= MaxPayload && h.session != 0 &&
		h.routes <= MaxRoutes && h.bits <= maxEntriesBits
}

// flow says what a receiver has taken and can take.
//
//	0 taken u16 ─ 2 limit u16 ─ 4 session of whom it is for u16 ─ 6 gap, round ─ 7 check
type flow struct {
	taken uint16 // number of the next data frame that is expected
	limit uint16 // number of the first that may not be sent yet
	gap   bool   // frames are missing: nothing is taken until the sender resumes
	round byte   // of the last resume that arrived; even
	check byte   // of all frames before taken
	to    uint16
}

// A resume has a round, which its answer names, in the other bits of the flags:
// so neither one that was lost nor an answer to an earlier one is taken for it.
const (
	flowGap   = 1 << 0
	roundStep = 1 << 1
)

func (w *flow) put(b []byte) int {
	binary.LittleEndian.PutUint16(b[0:], w.taken)
	binary.LittleEndian.PutUint16(b[2:], w.limit)
	binary.LittleEndian.PutUint16(b[4:], w.to)
	b[6], b[7] = w.round, w.check
	if w.gap {
		b[6] |= flowGap
	}
	return 8
}

func (w *flow) load(b []byte) (ok bool) {
	if len(b) != 8 {
		return false
	}
	*w = flow{
		taken: binary.LittleEndian.Uint16(b[0:]), limit: binary.LittleEndian.Uint16(b[2:]),
		to: binary.LittleEndian.Uint16(b[4:]), gap: b[6]&flowGap != 0, round: b[6] &^ flowGap, check: b[7],
	}
	return true
}

// The reasons of a bye.
const (
	byeClosed  = 0 // closed; everything up to the final number was sent
	byeTaken   = 1 // answer to a bye
	byeBreach  = 2 // the peer broke the protocol
	byeUnknown = 3 // answer to a frame of a link that isn't there
	byeRefused = 4 // no link with this peer is wanted, or can be had
)

// pair is the content of the other control frames, which differ in what value
// and reason mean:
//
//	0 value u16 ─ 2 reason u16 ─ 4 session of whom it is for ─ 6 session of the sender
//
// value is the round of a resume, and of a bye with byeClosed the number behind
// the last data frame. A bye with byeUnknown or byeRefused comes from
// somebody who has no session; in its place it has the one that it was sent, in
// bytes 4 and 5 of the frame that it answers.
type pair struct{ value, reason, to, from uint16 }

func (p *pair) put(b []byte) int {
	binary.LittleEndian.PutUint16(b[0:], p.value)
	binary.LittleEndian.PutUint16(b[2:], p.reason)
	binary.LittleEndian.PutUint16(b[4:], p.to)
	binary.LittleEndian.PutUint16(b[6:], p.from)
	return 8
}

func (p *pair) load(b []byte) (ok bool) {
	if len(b) != 8 {
		return false
	}
	*p = pair{
		value: binary.LittleEndian.Uint16(b[0:]), reason: binary.LittleEndian.Uint16(b[2:]),
		to: binary.LittleEndian.Uint16(b[4:]), from: binary.LittleEndian.Uint16(b[6:]),
	}
	return true
}
