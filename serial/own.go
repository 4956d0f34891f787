package serial

import "encoding/binary"

// The frames of the link's own. Their form takes the kinds that no vesicle has.
//
//	hello  form 0x09, version u8, bits u8 (1: please answer), window u8,
//	       session u32, peer's session u32 (0: unknown), greatest payload u32
//	ack    form 0x0a, next u8, credit u8, received u32 (bit i: next+1+i is here),
//	       session u32
//	bye    form 0x0b, reason u8, session u32
//
// A session is a number, not 0, that a side takes anew whenever it starts.
const (
	formOwn   = 9
	formHello = 9
	formAck   = 10
	formBye   = 11

	helloSize = 16
	ackSize   = 11
	byeSize   = 6

	lineVersion = 1
	helloAsk    = 1

	byeClosed = 1
)

// ownBound is the most bytes that one of these frames takes in a buffer that
// cobsEncode writes to.
const ownBound = 2 + helloSize + crc32Size + 1 + cobsSlack

type hello struct {
	version       byte
	ask           bool
	window        byte
	session, peer uint32
	maxPayload    uint32
}

func (h *hello) put(b *[helloSize]byte) {
	*b = [helloSize]byte{formHello, h.version, 0, h.window}
	if h.ask {
		b[2] = helloAsk
	}
	binary.LittleEndian.PutUint32(b[4:], h.session)
	binary.LittleEndian.PutUint32(b[8:], h.peer)
	binary.LittleEndian.PutUint32(b[12:], h.maxPayload)
}

// getHello reads a hello. One of another version is believed that far, so that
// the difference can be told to somebody; later versions may append bytes.
func getHello(body []byte) (h hello, ok bool) {
	if len(body) < helloSize {
		return h, false
	}
	h = hello{
		version: body[1], ask: body[2]&helloAsk != 0, window: body[3],
		session:    binary.LittleEndian.Uint32(body[4:]),
		peer:       binary.LittleEndian.Uint32(body[8:]),
		maxPayload: binary.LittleEndian.Uint32(body[12:]),
	}
	return h, h.session != 0
}

type ack struct {
	next, credit byte
	received     uint32
	session      uint32 // of who sends it
}

func (a *ack) put(b *[ackSize]byte) {
	b[0], b[1], b[2] = formAck, a.next, a.credit
	binary.LittleEndian.PutUint32(b[3:], a.received)
	binary.LittleEndian.PutUint32(b[7:], a.session)
}

func getAck(body []byte) (a ack, ok bool) {
	if len(body) != ackSize {
		return a, false
	}
	return ack{next: body[1], credit: body[2], received: binary.LittleEndian.Uint32(body[3:]), session: binary.LittleEndian.Uint32(body[7:])}, true
}

func putBye(b *[byeSize]byte, reason byte, session uint32) {
	b[0], b[1] = formBye, reason
	binary.LittleEndian.PutUint32(b[2:], session)
}

func getBye(body []byte) (reason byte, session uint32, ok bool) {
	if len(body) != byeSize {
		return 0, 0, false
	}
	return body[1], binary.LittleEndian.Uint32(body[2:]), true
}
