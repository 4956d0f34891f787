package quic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/link"
)

// The protocol, version 1, agreed on by ALPN. All numbers are little endian.
//
// A link is a bidirectional stream, its control stream, whose number names it,
// and the lanes: unidirectional streams, opened by whoever sends in them when
// the first vesicle needs one. On a control stream:
//
//	opener:   "CELL", version 1, lanes 1, flags 1, 0, most payload 4, credit 4
//	acceptor: status 1, text's length 1, most payload 4, credit 4, text
//	either:   0xfc, credit 4: the peer may send so much more
//	either:   0xfe, lanes opened 1: nothing more will be sent
//	either:   0xfd: everything up to the peer's farewell has been received
//
// On a lane: the link's number 8, lane 1, then vesicles, each header and
// payload. In a datagram: the link's number 8, header, payload.
//
// A stream that asks a relay begins with 16 bytes, "RLYW" (to wait to be
// reached) or "RLYC" (to call), version 2, punch 1, 0 …, and for a call the ID of
// whom to reach, 32. The relay answers as the acceptor of a link does; then to
// the caller once, and to who waits for every caller: port 2, token 16, length 1
// and text of the other's address. On that port of the relay's a node shows where
// it is (relaywire.go), and packets of QUIC's are passed on.
//
// On a connection of [ALPNEnrol] there is one stream: from the node a byte, the
// version 1; from the issuer, status 1, length 4, and so many bytes of an
// identity.Enrolment, or of words.
//
// Over TLS on TCP there is one stream: the opening, its answer, and vesicles
// both ways; close_notify is the farewell.
const (
	// ALPN is the protocol of connections over QUIC, and ALPNTCP that of
	// those over TLS on TCP.
	ALPN    = "cell/1"
	ALPNTCP = "cell-tcp/1"

	// ALPNEnrol is the protocol by which nodes are enrolled; see [Enrol].
	ALPNEnrol = "cell-enrol/1"

	protocolVersion = 1
	openingSize     = 16
	answerSize      = 10
	laneHeadSize    = 9
	datagramHead    = 8
	farewell        = 0xfe
	received        = 0xfd
	credited        = 0xfc
	maxText         = 255

	flagLossy = 1
	flagsAll  = flagLossy
)

var openingMagic = [4]byte{'C', 'E', 'L', 'L'}

// The codes with which connections and streams are ended. They are on the
// wire; a new one takes a new number.
const (
	codeClosed   quicgo.ApplicationErrorCode = 0 // the endpoint was closed
	codeRefused  quicgo.ApplicationErrorCode = 1 // the peer is not let in
	codeRevoked  quicgo.ApplicationErrorCode = 2 // it no longer is
	codeBreach   quicgo.ApplicationErrorCode = 3 // it broke the protocol
	codeTooMany  quicgo.ApplicationErrorCode = 4 // a bound was reached
	streamCancel quicgo.StreamErrorCode      = 1
)

// The statuses of an answer.
const (
	statusAccepted = 0
	statusRefused  = 1
)

var (
	// ErrRefused: the peer has refused this side, and said why.
	ErrRefused = errors.New("quic: refused by the peer")
	// ErrHandshake: the connection did not come about.
	ErrHandshake = errors.New("quic: no connection")
	// ErrClosed: the endpoint was closed.
	ErrClosed = errors.New("quic: endpoint closed")
)

// opening is what the opener of a link says.
type opening struct {
	lanes      int
	lossy      bool
	maxPayload int
	credit     int // what the acceptor may send before it is given more
}

func (o opening) append(b []byte) []byte {
	flags := byte(0)
	if o.lossy {
		flags |= flagLossy
	}
	b = append(b, openingMagic[:]...)
	b = append(b, protocolVersion, byte(o.lanes), flags, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(o.maxPayload))
	return binary.LittleEndian.AppendUint32(b, uint32(o.credit))
}

// parseOpening checks everything that a hostile opener could choose.
func parseOpening(b [openingSize]byte) (opening, error) {
	o := opening{
		lanes: int(b[5]), lossy: b[6]&flagLossy != 0,
		maxPayload: int(min(binary.LittleEndian.Uint32(b[8:]), maxReceive)),
		credit:     int(min(binary.LittleEndian.Uint32(b[12:]), maxReceive)),
	}
	switch {
	case [4]byte(b[:4]) != openingMagic:
		return o, fmt.Errorf("it does not begin as a link does")
	case b[4] != protocolVersion:
		return o, fmt.Errorf("version %d of the protocol; this side speaks %d", b[4], protocolVersion)
	case o.lanes < 1 || o.lanes > maxLanes || b[6]&^flagsAll != 0 || b[7] != 0:
		return o, fmt.Errorf("%d lanes, flags %#x; at most %d lanes and %#x are known", o.lanes, b[6], maxLanes, flagsAll)
	case o.maxPayload < link.MinFragmentPayload:
		return o, fmt.Errorf("vesicles of at most %d bytes; %d is the least", o.maxPayload, link.MinFragmentPayload)
	}
	return o, nil
}

func appendAnswer(b []byte, status byte, maxPayload, credit int, text string) []byte {
	text = text[:min(len(text), maxText)]
	b = append(b, status, byte(len(text)))
	b = binary.LittleEndian.AppendUint32(b, uint32(maxPayload))
	b = binary.LittleEndian.AppendUint32(b, uint32(credit))
	return append(b, text...)
}

// readAnswer returns the most payload that was agreed on, and the credit.
func readAnswer(r io.Reader, offered int) (maxPayload, credit int, err error) {
	var b [answerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, 0, err
	}
	text := make([]byte, b[1])
	if _, err := io.ReadFull(r, text); err != nil {
		return 0, 0, err
	}
	agreed := binary.LittleEndian.Uint32(b[2:])
	switch {
	case b[0] == statusRefused:
		return 0, 0, fmt.Errorf("%w: %s", ErrRefused, printable(text))
	case b[0] != statusAccepted || agreed < link.MinFragmentPayload || agreed > uint32(offered):
		return 0, 0, fmt.Errorf("%w: an answer with status %d and vesicles of %d bytes, of at most %d", link.ErrCorrupt, b[0], agreed, offered)
	}
	return int(agreed), int(min(binary.LittleEndian.Uint32(b[6:]), maxReceive)), nil
}

// printable replaces what a peer could do to a terminal.
func printable(text []byte) string {
	for i, c := range text {
		if c < ' ' || c == 0x7f {
			text[i] = '?'
		}
	}
	return string(text)
}
