package afxdp

import (
	"encoding/binary"
	"errors"

	"github.com/cell-runtime/cell/wire"
)

const (
	magic         = 0x5643
	formatVersion = 1
	headSize      = 32
	helloSize     = headSize + 8
	recordAlign   = 4

	helloReliable  = 1
	helloAsk       = 2
	helloChallenge = 4
	helloWhole     = 8

	// minDatagram is the least size of datagrams, in bytes, that a path must
	// carry: what IPv6 guarantees (RFC 8200, section 5), less its headers.
	minDatagram = 1280 - 48
	// maxDatagram is the most that fits a UDP datagram over IPv4, aligned.
	maxDatagram = 65507 &^ (recordAlign - 1)
)

type datagramType byte

const (
	typeData  datagramType = 1
	typeAck   datagramType = 2
	typeAsk   datagramType = 3
	typeHello datagramType = 4
	typeBye   datagramType = 5
)

// head is the front of every datagram; see the package comment.
type head struct {
	kind          datagramType
	session, peer uint32
	sequence      uint32
	next, limit   uint32
	here          uint64
}

var (
	errShort   = errors.New("afxdp: shorter than a datagram's head, or than its type needs")
	errFormat  = errors.New("afxdp: not a datagram of this format and version")
	errRecords = errors.New("afxdp: its vesicles do not fill it")
)

func (h *head) put(b []byte) {
	_ = b[headSize-1]
	binary.LittleEndian.PutUint16(b, magic)
	b[2], b[3] = formatVersion, byte(h.kind)
	binary.LittleEndian.PutUint32(b[4:], h.session)
	binary.LittleEndian.PutUint32(b[8:], h.peer)
	binary.LittleEndian.PutUint32(b[12:], h.sequence)
	binary.LittleEndian.PutUint32(b[16:], h.next)
	binary.LittleEndian.PutUint32(b[20:], h.limit)
	binary.LittleEndian.PutUint64(b[24:], h.here)
}

// getHead reads the front of a datagram. It believes nothing but the format.
func getHead(b []byte) (h head, err error) {
	if len(b) < headSize {
		return h, errShort
	}
	h = head{
		kind:     datagramType(b[3]),
		session:  binary.LittleEndian.Uint32(b[4:]),
		peer:     binary.LittleEndian.Uint32(b[8:]),
		sequence: binary.LittleEndian.Uint32(b[12:]),
		next:     binary.LittleEndian.Uint32(b[16:]),
		limit:    binary.LittleEndian.Uint32(b[20:]),
		here:     binary.LittleEndian.Uint64(b[24:]),
	}
	if binary.LittleEndian.Uint16(b) != magic || b[2] != formatVersion || h.session == 0 ||
		h.kind < typeData || h.kind > typeBye {
		return h, errFormat
	}
	if h.kind == typeHello && len(b) < helloSize {
		return h, errShort
	}
	return h, nil
}

// hello is what follows the head of a hello. Its head has a cookie in place of
// here, or 0.
type hello struct {
	reliable  bool
	ask       bool   // an answer is wanted
	challenge bool   // no answer yet: the same is to be said again with this cookie
	whole     bool   // see Options.whole
	datagram  uint32 // the most bytes that the sender takes
}

func (h hello) put(b []byte) {
	clear(b[headSize:helloSize])
	if h.reliable {
		b[headSize] |= helloReliable
	}
	if h.ask {
		b[headSize] |= helloAsk
	}
	if h.challenge {
		b[headSize] |= helloChallenge
	}
	if h.whole {
		b[headSize] |= helloWhole
	}
	binary.LittleEndian.PutUint32(b[headSize+4:], h.datagram)
}

// getHello reads what getHead found long enough.
func getHello(b []byte) hello {
	flags := b[headSize]
	return hello{
		reliable: flags&helloReliable != 0, ask: flags&helloAsk != 0, challenge: flags&helloChallenge != 0, whole: flags&helloWhole != 0,
		datagram: binary.LittleEndian.Uint32(b[headSize+4:]),
	}
}

// recordSize is how many bytes a vesicle of n bytes of payload takes.
func recordSize(n int) int { return (wire.HeaderSize + n + recordAlign - 1) &^ (recordAlign - 1) }

// checkRecords reports whether b, what follows the head of data, is nothing but
// valid vesicles, at least one.
func checkRecords(b []byte) error {
	if len(b) == 0 {
		return errRecords
	}
	for len(b) > 0 {
		if len(b) < wire.HeaderSize {
			return errRecords
		}
		var h wire.Header
		if !h.Load((*[wire.HeaderSize]byte)(b), wire.MaxLength) {
			return errRecords
		}
		size := recordSize(int(h.Length))
		if size > len(b) {
			return errRecords
		}
		b = b[size:]
	}
	return nil
}

// nextRecord takes the first vesicle off b, which checkRecords has found valid.
func nextRecord(b []byte, v *wire.Vesicle) (rest []byte) {
	n, _ := v.Header.Unpack((*[wire.HeaderSize]byte)(b))
	end := wire.HeaderSize + int(n)
	v.Payload = b[wire.HeaderSize:end:end]
	return b[recordSize(int(n)):]
}

// unwrap finds the number nearest to near whose low half is low.
func unwrap(near uint64, low uint32) uint64 {
	return near + uint64(int64(int32(low-uint32(near))))
}
