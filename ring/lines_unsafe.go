package ring

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/cell-runtime/cell/wire"
)

// oneLine is a record of one cache line as it lies in memory. Most records
// are such, and what must be done for each of millions a second is so little
// that every instruction shows: the two cores of a pair may be two threads of
// one, which share its execution units. Hence the loops below, in which the
// span is known, nothing wraps, and everything stays in registers.
type oneLine struct {
	word    uint32
	header  lineHeader
	payload [onePayload]byte
}

// lineHeader is wire.Header as it is encoded.
type lineHeader struct {
	length      [4]byte
	fingerprint [8]byte
	correlation [4]byte
	tail        [4]byte
}

// lineReady is the commit word of a record of one line.
const lineReady = line | stateReady

// onePayload is the most payload bytes of a record of one line.
const onePayload = line - prefixSize

var (
	_ = [1]struct{}{}[unsafe.Sizeof(oneLine{})-line]
	_ = [1]struct{}{}[unsafe.Offsetof(oneLine{}.payload)-prefixSize]
	_ = [1]struct{}{}[unsafe.Sizeof(lineHeader{})-wire.HeaderSize]
	// The tail is these four, in this order, without the version.
	_ = [1]struct{}{}[unsafe.Offsetof(wire.Header{}.Flags)-unsafe.Offsetof(wire.Header{}.Kind)-1]
	_ = [1]struct{}{}[unsafe.Offsetof(wire.Header{}.Channel)-unsafe.Offsetof(wire.Header{}.Kind)-2]
	_ = [1]struct{}{}[unsafe.Offsetof(wire.Header{}.Hops)-unsafe.Offsetof(wire.Header{}.Kind)-3]
)

// line returns the line at off.
func (a arena) line(off uint64) *oneLine { return (*oneLine)(unsafe.Add(a.base, off)) }

// prefetch asks for n bytes from off on, both multiples of a line, in order to
// write to them.
func (a arena) prefetch(off, n uint64) { prefetchWrite(unsafe.Add(a.base, off), n/line) }

// tailOf returns the last four fields of h as bytes.
func tailOf(h *wire.Header) *[4]byte { return (*[4]byte)(unsafe.Pointer(&h.Kind)) }

// putHeader encodes h with a length of n.
func (r *oneLine) putHeader(h *wire.Header, n uint32) {
	le := binary.LittleEndian
	le.PutUint32(r.header.length[:], n)
	le.PutUint64(r.header.fingerprint[:], h.Fingerprint)
	le.PutUint32(r.header.correlation[:], h.Correlation)
	le.PutUint32(r.header.tail[:], le.Uint32(tailOf(h)[:])|wire.Version<<4)
}

// fill copies the onePayload bytes at payload.
func (r *oneLine) fill(payload *byte) {
	// In words, because for an array of 40 the compiler calls memmove, or
	// copies twice by way of the stack and in overlapping pieces that the CPU
	// can't forward.
	from := (*oneWords)(unsafe.Pointer(payload))
	to := (*oneWords)(unsafe.Pointer(&r.payload))
	to.a = from.a
	to.b = from.b
	to.c = from.c
}

// oneWords is a payload of onePayload bytes.
type oneWords struct {
	a, b [16]byte
	c    [8]byte
}

// fillsLine reports whether a payload fills one line, or is declared, by a
// capacity of just that, to lie where a whole line may be copied.
func fillsLine(payload []byte) bool {
	return len(payload) == onePayload || cap(payload) == onePayload
}

// unsafeStart returns where a payload with a capacity above 0 begins.
func unsafeStart(payload []byte) *byte { return unsafe.SliceData(payload) }

// writeLines writes the vesicles at the front of vs for which fillsLine holds,
// into consecutive lines from off on, which the caller knows to be free and in
// one piece, and returns their number and payload bytes.
func (a arena) writeLines(off uint64, vs []wire.Vesicle) (n int, bytes uint64) {
	for i := range vs {
		v, r := &vs[i], a.line(off+uint64(i)*line)
		if !fillsLine(v.Payload) {
			return i, bytes
		}
		r.putHeader(&v.Header, uint32(len(v.Payload)))
		r.fill(unsafe.SliceData(v.Payload))
		r.word = lineReady
		bytes += uint64(len(v.Payload))
	}
	return len(vs), bytes
}

// sealLines commits the vesicles at the front of vs, whose payloads must lie
// in consecutive lines from off on, and returns how many do, and their bytes.
func (a arena) sealLines(off uint64, vs []wire.Vesicle) (n int, bytes uint64) {
	for i := range vs {
		v, r := &vs[i], a.line(off+uint64(i)*line)
		size := uint32(len(v.Payload))
		if len(v.Payload) > onePayload || size != 0 && unsafe.SliceData(v.Payload) != &r.payload[0] {
			return i, bytes
		}
		v.Header.Length = size
		r.putHeader(&v.Header, size)
		r.word = lineReady
		bytes += uint64(size)
	}
	return len(vs), bytes
}

// readyLines returns how many of the most consecutive lines from off on are
// published records of one line. It reads nothing but commit words: the loop is
// so short that the CPU, which predicts it to go on, has many lines under way
// from the other core at once.
func (a arena) readyLines(off uint64, most int) (n int) {
	for r := a.line(off); n < most; n++ {
		// Acquire: everything that the producer wrote into this batch before
		// it released the first commit word is visible from here on.
		if atomic.LoadUint32(&r.word) != lineReady {
			break
		}
		r = (*oneLine)(unsafe.Add(unsafe.Pointer(r), line))
	}
	return n
}

// readLines fills in with the records of one line from off on, which readyLines
// has counted, and returns how many of them have valid headers, and their
// payload bytes. It reads each byte of a header once.
func (a arena) readLines(off uint64, in []wire.Vesicle) (n int, bytes uint64) {
	le := binary.LittleEndian
	for i := range in {
		v, r := &in[i], a.line(off+uint64(i)*line)
		length, tail := le.Uint32(r.header.length[:]), le.Uint32(r.header.tail[:])
		if !wire.Tail(tail).Valid(length, onePayload) {
			return i, bytes
		}
		v.Header.Fingerprint = le.Uint64(r.header.fingerprint[:])
		v.Header.Length = length
		v.Header.Correlation = le.Uint32(r.header.correlation[:])
		le.PutUint32(tailOf(&v.Header)[:], tail-wire.Version<<4)
		v.Payload = r.payload[:length:length]
		bytes += uint64(length)
	}
	return len(in), bytes
}
