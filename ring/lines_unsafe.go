package ring

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/cell-runtime/cell/wire"
)

// oneLine is a record of one cache line as it lies in memory. Most records
// are such, and what must be done for each of millions a second is so little
// that every instruction shows: the two cores of a pair may be two threads of
// one, which share its execution units. Hence the loops below, in which the
// span is known, nothing wraps, and everything stays in registers.
//
// It is written in words of eight bytes, three before the payload: between
// cores the number of stores counts, which drain in order behind the one that
// waits for its line.
type oneLine struct {
	start       uint64  // commit word in host order, length; see lineStart
	fingerprint [8]byte // from here on as wire.Header is encoded
	rest        [8]byte // correlation, and the tail
	payload     [onePayload]byte
}

// lineReady is the commit word of a record of one line.
const lineReady = line | stateReady

// lineStart returns the first word of a record of one line with a payload of n
// bytes: the commit word comes first, in host order, and n is little-endian.
func lineStart(n uint32) uint64 {
	if cpu.IsBigEndian {
		return lineReady<<32 | uint64(bits.ReverseBytes32(n))
	}
	return lineReady | uint64(n)<<32
}

// word returns the commit word.
func (r *oneLine) word() *uint32 { return (*uint32)(unsafe.Pointer(r)) }

// length returns the length as it is encoded.
func (r *oneLine) length() *[4]byte {
	return (*[4]byte)(unsafe.Add(unsafe.Pointer(r), unsafe.Sizeof(uint32(0))))
}

// onePayload is the most payload bytes of a record of one line.
const onePayload = line - prefixSize

var (
	_ = [1]struct{}{}[unsafe.Sizeof(oneLine{})-line]
	_ = [1]struct{}{}[unsafe.Offsetof(oneLine{}.payload)-prefixSize]
	_ = [1]struct{}{}[unsafe.Offsetof(oneLine{}.fingerprint)-4-4] // what wire.Header.Put does: length, fingerprint,
	_ = [1]struct{}{}[unsafe.Offsetof(oneLine{}.rest)-4-12]       // correlation
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

// putHeader encodes h, all but the length, which goes with the commit word.
func (r *oneLine) putHeader(h *wire.Header) {
	le := binary.LittleEndian
	le.PutUint64(r.fingerprint[:], h.Fingerprint)
	// Two loads, though the fields are neighbours: the caller has just stored
	// the correlation, and a load that begins there and goes on behind it has to
	// wait until that has left the store buffer.
	le.PutUint64(r.rest[:], uint64(h.Correlation)|uint64(le.Uint32(tailOf(h)[:])|wire.Version<<4)<<32)
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
		r.putHeader(&v.Header)
		r.fill(unsafe.SliceData(v.Payload))
		r.start = lineStart(uint32(len(v.Payload)))
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
		r.putHeader(&v.Header)
		r.start = lineStart(size)
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
		if atomic.LoadUint32(r.word()) != lineReady {
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
		length, tail := le.Uint32(r.length()[:]), le.Uint32(r.rest[4:])
		if !wire.Tail(tail).Valid(length, onePayload) {
			return i, bytes
		}
		v.Header.Fingerprint = le.Uint64(r.fingerprint[:])
		v.Header.Length = length
		v.Header.Correlation = le.Uint32(r.rest[:4])
		le.PutUint32(tailOf(&v.Header)[:], tail-wire.Version<<4)
		v.Payload = r.payload[:length:length]
		bytes += uint64(length)
	}
	return len(in), bytes
}
