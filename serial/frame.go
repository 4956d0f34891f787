package serial

import (
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/wire"
)

// Why bytes between two delimiters are not a frame. [DecodeFrame] returns these
// or, for a header that may not be acted upon, those of package wire.
var (
	ErrCOBS = errors.New("serial: a COBS code points beyond the frame")
	ErrSize = errors.New("serial: no frame has that many bytes")
	ErrCRC  = errors.New("serial: the checksum is wrong")
	ErrForm = errors.New("serial: not a vesicle: unknown form, of a window that is not open, or cut short")
)

// MaxPayload is the most payload bytes that a connection can agree on (64 KiB).
// It bounds what a receiver must set aside; what is longer travels in pieces
// ([link.Fragmenter]), and on a noisy line short frames are lost more rarely.
const MaxPayload = 64 << 10

const delimiter = 0

// FrameBound returns the most bytes that a vesicle of n payload bytes takes on
// the line, delimiters included.
func FrameBound(n int) int { return 2 + cobsBound(maxHeader+n+crc32Size) }

// AppendFrame appends the vesicle of h and payload to b as it travels on the
// line, delimiters included, without a sequence number. h.Length is ignored:
// the payload's own counts. It refuses more than [MaxPayload] bytes and what
// [wire.Header.Validate] refuses.
//
// A [Conn] encodes without the copy that is made here; this is for tools.
func AppendFrame(b []byte, h wire.Header, payload []byte) ([]byte, error) {
	if len(payload) > MaxPayload {
		return b, fmt.Errorf("serial: a frame of %d bytes, at most %d; see link.Fragmenter", len(payload), MaxPayload)
	}
	h.Length = uint32(len(payload))
	if err := h.Validate(); err != nil {
		return b, err
	}
	place := make([]byte, maxHeader+len(payload)+crc32Size)
	copy(place[maxHeader:], payload)
	start := len(b)
	b = append(b, make([]byte, FrameBound(len(payload))+cobsSlack)...)
	return b[:start+encodeVesicle(b[start:], place, &h, len(payload), -1)], nil
}

// encodeVesicle writes a frame to dst and returns its length. Its n bytes of
// payload lie at place[maxHeader:], with room for a checksum behind them; what
// lies around them is overwritten.
func encodeVesicle(dst, place []byte, h *wire.Header, n, seq int) int {
	start := putHeader(place, h, seq)
	return encodeBody(dst, place[start:], maxHeader-start+n)
}

// encodeBody writes the frame of body[:n] to dst and returns its length. It
// writes the checksum behind the body.
func encodeBody(dst, body []byte, n int) int {
	n = seal(body[:n])
	dst[0] = delimiter
	n = 1 + cobsEncode(dst[1:], body[:n])
	dst[n] = delimiter
	return n + 1
}

// decodeBody decodes what stood between two delimiters, in place, and checks
// it.
func decodeBody(line []byte) (body []byte, err error) {
	n, ok := cobsDecode(line)
	if !ok {
		return nil, ErrCOBS
	}
	return unseal(line[1 : 1+n])
}

// DecodeFrame decodes what stood between two delimiters. It does so in place:
// the payload is a part of line, and line's content is spent whether it
// succeeds or not. A frame of the link's own (docs/SERIAL.md) is no vesicle: ErrForm
// or wire.ErrKind.
func DecodeFrame(line []byte) (h wire.Header, payload []byte, err error) {
	body, err := decodeBody(line)
	if err != nil {
		return h, nil, err
	}
	payload, seq, err := getHeader(body, &h)
	if err == nil && seq >= 0 {
		err = ErrForm
	}
	return h, payload, err
}
