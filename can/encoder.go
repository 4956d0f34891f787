package can

import (
	"encoding/binary"

	"github.com/cell-runtime/cell/wire"
)

// encoder cuts the vesicles of one direction into data frames. It numbers them
// as it is told, and never looks back.
type encoder struct {
	memory   memory
	routes   *routes
	to, from NodeID
	fd       bool

	// The vesicle under way, if busy.
	busy    bool
	id      ID // of its first frame, without a number
	short   bool
	prefix  [maxPrefix]byte
	front   int // bytes of prefix in use
	payload []byte
	check   [checkSize]byte
	total   int // bytes of prefix, payload and check
	done    int // of those
}

func (e *encoder) size() int {
	if e.fd {
		return FDData
	}
	return ClassicData
}

// form says what the header of the next vesicle needs, and by what route and
// token it goes.
func (e *encoder) form(h *wire.Header) (f Form, route, token byte) {
	_, plain := shortClass(h.Kind)
	f.Plain = plain && h.Flags.WithPriority(0)&^wire.FlagEnd == 0
	route, f.Routed = e.routes.number(h.Fingerprint)
	token, f.Foreseen = e.memory.foresee(h.Kind, h.Correlation)
	f.Usual = h.Channel == e.memory.channel && h.Hops == e.memory.hops
	return f, route, token
}

// begin takes a vesicle, whose payload must stay as it is until the encoder is
// no longer busy, and the number of its first frame. The memory advances, so all
// of its frames must be sent.
func (e *encoder) begin(h wire.Header, payload []byte, number uint16) {
	h.Length = uint32(len(payload))
	f, route, token := e.form(&h)
	class := ClassStart
	e.short = f.Short(len(payload))
	if e.short {
		class, _ = shortClass(h.Kind)
		if h.Flags&wire.FlagEnd != 0 {
			e.prefix[0] = token | shortEnd
		} else {
			e.prefix[0] = token
		}
		e.front = 1
	} else {
		e.front = putPrefix(&e.prefix, &h, f, token)
	}
	e.prefix[0] |= byte(number<<firstShift) & firstNumber
	e.id = MakeID(dataPriority(h.Flags.Priority()), class, e.to, e.from, uint16(route)<<sequenceBits)
	if f.Foreseen {
		e.memory.advance(h.Kind, token)
	} else {
		e.memory.learn(h.Kind, h.Correlation)
	}
	e.memory.channel, e.memory.hops = h.Channel, h.Hops

	e.payload, e.busy, e.done = payload, true, 0
	if e.total = e.front + len(payload); e.total > e.size() {
		c := ^crc16(crc16(crcID(e.id), e.prefix[:e.front]), payload)
		binary.LittleEndian.PutUint16(e.check[:], c)
		e.total += checkSize
	}
}

// next writes the next frame of the vesicle under way, which has that number
// among all data frames of the direction, counted on from the one that begin was
// told. Behind the last one the encoder is no longer busy.
func (e *encoder) next(f *Frame, number uint16) {
	f.ID = e.id | ID(number&sequenceMask)
	if e.done > 0 {
		f.ID = e.id&^(7<<classShift|detailMask) | ID(ClassNext)<<classShift | ID(number&detailMask)
	}
	n := 0
	for n < e.size() && e.done < e.total {
		k := copy(f.Data[n:e.size()], e.at(e.done))
		n, e.done = n+k, e.done+k
	}
	e.pad(f, n)
	e.busy = e.done < e.total
}

// at returns what follows the first i bytes of the content, as far as it lies
// in one piece.
func (e *encoder) at(i int) []byte {
	if i < e.front {
		return e.prefix[i:e.front]
	}
	if i -= e.front; i < len(e.payload) {
		return e.payload[i:]
	}
	return e.check[i-len(e.payload):]
}

// pad sets the length of f for n bytes of data, and the format.
func (e *encoder) pad(f *Frame, n int) {
	length := DataLength(n)
	clear(f.Data[n:length])
	f.Len, f.Flags = uint8(length), 0
	if e.fd {
		f.Flags = FlagFD | FlagBRS
	}
}
