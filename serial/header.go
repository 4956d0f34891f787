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
//	                  bits 5–6: zero
//	                  bit  7:   a sequence number follows
//	sequence     u8   with bit 7: the frame's place in the sliding window
//	fingerprint  u64
//	correlation  u32
//	flags, channel, hops u8 ×3   with bit 4; else they are 0, 0 and 16
//	payload      the rest
//
// A sender leaves out what it can; a receiver takes either form.
const (
	formKind      = 0x0f
	formTail      = 0x10
	formReserved  = 0x60
	formSequenced = 0x80

	// usualHops is the hops of a vesicle whose form leaves them out: that of
	// one that has not been forwarded yet.
	usualHops = 16

	minHeader = 1 + 8 + 4
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
	at -= 12
	binary.LittleEndian.PutUint64(b[at:], h.Fingerprint)
	binary.LittleEndian.PutUint32(b[at+8:], h.Correlation)
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
	form, at := body[0], 1
	seq = -1
	if form&formSequenced != 0 {
		seq = int(body[1])
		at = 2
	}
	tail := at + 12
	end := tail + int(form&formTail>>4)*3
	if len(body) < end || form&formReserved != 0 {
		return nil, 0, ErrForm
	}
	h.Kind = wire.Kind(form & formKind)
	h.Fingerprint = binary.LittleEndian.Uint64(body[at:])
	h.Correlation = binary.LittleEndian.Uint32(body[at+8:])
	h.Flags, h.Channel, h.Hops = 0, 0, usualHops
	if end != tail {
		h.Flags, h.Channel, h.Hops = wire.Flags(body[tail]), wire.Channel(body[tail+1]), body[tail+2]
	}
	payload = body[end:len(body):len(body)]
	h.Length = uint32(len(payload))
	return payload, seq, h.Validate()
}
