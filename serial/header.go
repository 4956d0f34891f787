package serial

import (
	"encoding/binary"

	"github.com/cell-runtime/cell/wire"
)

// On the line a header has no length, which is the frame's to know, and leaves
// out what is as usual:
//
//	form         u8   bits 0–3: kind, 1 to 8
//	                  bit  4:   flags, channel and hops follow
//	                  bits 5–6: bytes of correlation: 0, 1, 2 or 4
//	                  bit  7:   a sequence number follows
//	sequence     u8   with bit 7: the frame's place in the sliding window
//	fingerprint  u64
//	correlation  0, 1, 2 or 4 bytes
//	flags, channel, hops u8 ×3   with bit 4; else they are 0, 0 and 16
//	payload      the rest
//
// A sender takes the shortest form; a receiver takes any.
const (
	formKind        = 0x0f
	formTail        = 0x10
	formCorrelation = 0x60
	formSequenced   = 0x80

	// usualHops is the hops of a vesicle whose form leaves them out.
	usualHops = 16

	minHeader = 1 + 8
	maxHeader = 1 + 1 + 8 + 4 + 3
)

// putHeader writes h right before payload, which begins at b[maxHeader], and
// returns where the header begins. seq below 0 means none.
func putHeader(b []byte, h *wire.Header, seq int) (start int) {
	form, at := byte(h.Kind)&formKind, maxHeader
	if h.Flags != 0 || h.Channel != 0 || h.Hops != usualHops {
		form |= formTail
		at -= 3
		b[at], b[at+1], b[at+2] = byte(h.Flags), byte(h.Channel), h.Hops
	}
	switch c := h.Correlation; {
	case c == 0:
	case c < 1<<8:
		form |= 1 << 5
		at--
		b[at] = byte(c)
	case c < 1<<16:
		form |= 2 << 5
		at -= 2
		binary.LittleEndian.PutUint16(b[at:], uint16(c))
	default:
		form |= 3 << 5
		at -= 4
		binary.LittleEndian.PutUint32(b[at:], c)
	}
	at -= 8
	binary.LittleEndian.PutUint64(b[at:], h.Fingerprint)
	if seq >= 0 {
		form |= formSequenced
		at--
		b[at] = byte(seq)
	}
	at--
	b[at] = form
	return at
}

// getHeader reads what putHeader wrote from the front of body and validates it.
// The rest of body is the payload; seq is -1 without a sequence number.
func getHeader(body []byte, h *wire.Header) (payload []byte, seq int, err error) {
	if len(body) < minHeader {
		return nil, 0, ErrForm
	}
	form := body[0]
	size := int(0x4210 >> (form & formCorrelation >> 5 * 4) & 7)
	at := 1
	seq = -1
	if form&formSequenced != 0 {
		seq = int(body[1])
		at = 2
	}
	tail := at + 8 + size
	end := tail + int(form&formTail>>4)*3
	if len(body) < end {
		return nil, 0, ErrForm
	}
	h.Kind = wire.Kind(form & formKind)
	h.Fingerprint = binary.LittleEndian.Uint64(body[at:])
	h.Correlation = 0
	for i, b := range body[at+8 : tail] {
		h.Correlation |= uint32(b) << (8 * i)
	}
	h.Flags, h.Channel, h.Hops = 0, 0, usualHops
	if end != tail {
		h.Flags, h.Channel, h.Hops = wire.Flags(body[tail]), wire.Channel(body[tail+1]), body[tail+2]
	}
	payload = body[end:len(body):len(body)]
	h.Length = uint32(len(payload))
	return payload, seq, h.Validate()
}
