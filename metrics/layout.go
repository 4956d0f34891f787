package metrics

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// LayoutVersion is the version of the file layout that this package writes
// and reads. docs/METRICS.md describes it.
const LayoutVersion = 1

// Bounds on a file. A reader believes nothing beyond them.
const (
	// MinSize and MaxSize bound a file in bytes.
	MinSize = 8 << 10
	MaxSize = 256 << 20
	// MaxInstruments bounds the descriptor table.
	MaxInstruments = 1 << 16

	headerSize = 4096 // a page, of which offUsed bytes have a meaning
	lineSize   = 128  // two cache lines: prefetchers fetch them in pairs
)

// Byte offsets in the header. Integers are in the writer's byte order, which
// the order mark tells.
const (
	offMagic      = 0  // 8 bytes
	offOrder      = 8  // u64, orderMark
	offVersion    = 16 // u32
	offDescSize   = 20 // u32, descriptorSize
	offState      = 24 // u64, a State
	offSize       = 32 // u64, bytes of the whole file
	offCapacity   = 40 // u64, descriptors that the table can hold
	offPID        = 48 // u64
	offStart      = 56 // u64, the writer's start in clock ticks since boot
	offBoot       = 64 // 16 bytes, the kernel's boot id
	offCreated    = 80 // i64, Unix nanoseconds
	offCount      = 128
	offUsed       = offCount + 8
	magic         = "CELLMETR"
	orderMark     = 0x0102030405060708
	orderMarkSwap = 0x0807060504030201
)

// State says what the writer of a file does.
type State uint64

// The states.
const (
	StateCreating State = 0 // not to be read yet
	StateLive     State = 1 // in use, or its writer died: see [Reader.WriterAlive]
	StateClosed   State = 2 // closed in order; nothing changes any more
)

// String returns the state in words.
func (s State) String() string {
	switch s {
	case StateCreating:
		return "creating"
	case StateLive:
		return "live"
	case StateClosed:
		return "closed"
	}
	return fmt.Sprintf("state %d", uint64(s))
}

// header is the decoded first page.
type header struct {
	order    binary.ByteOrder
	state    State
	size     int64
	capacity int
	writer   process
	created  time.Time
}

// valuesAt returns the offset of the first value: behind the descriptor
// table, on a line of its own.
func valuesAt(capacity int) int64 {
	return headerSize + alignUp(int64(capacity)*descriptorSize, lineSize)
}

func alignUp(n, to int64) int64 { return (n + to - 1) / to * to }

// encode returns the used part of the header page in the native order, with a
// descriptor count of 0.
func (h *header) encode() []byte {
	b := make([]byte, offUsed)
	o := binary.NativeEndian
	copy(b[offMagic:], magic)
	o.PutUint64(b[offOrder:], orderMark)
	o.PutUint32(b[offVersion:], LayoutVersion)
	o.PutUint32(b[offDescSize:], descriptorSize)
	o.PutUint64(b[offState:], uint64(h.state))
	o.PutUint64(b[offSize:], uint64(h.size))
	o.PutUint64(b[offCapacity:], uint64(h.capacity))
	o.PutUint64(b[offPID:], uint64(h.writer.pid))
	o.PutUint64(b[offStart:], h.writer.start)
	copy(b[offBoot:], h.writer.boot[:])
	o.PutUint64(b[offCreated:], uint64(h.created.UnixNano()))
	return b
}

// decodeHeader checks everything that b, of at least offUsed bytes, says about
// a file of size bytes. It accepts either byte order.
func decodeHeader(b []byte, size int64) (header, error) {
	if len(b) < offUsed || string(b[offMagic:offMagic+8]) != magic {
		return header{}, ErrNotMetrics
	}
	var h header
	switch binary.LittleEndian.Uint64(b[offOrder:]) {
	case orderMark:
		h.order = binary.LittleEndian
	case orderMarkSwap:
		h.order = binary.BigEndian
	default:
		return header{}, fmt.Errorf("%w: no byte-order mark", ErrCorrupt)
	}
	if v := h.order.Uint32(b[offVersion:]); v != LayoutVersion {
		return header{}, fmt.Errorf("%w: the file has %d, this package knows %d", ErrVersion, v, LayoutVersion)
	}
	if n := h.order.Uint32(b[offDescSize:]); n != descriptorSize {
		return header{}, fmt.Errorf("%w: descriptors of %d bytes, not %d", ErrCorrupt, n, descriptorSize)
	}
	h.state = State(h.order.Uint64(b[offState:]))
	switch h.state {
	case StateCreating:
		return header{}, ErrNotReady
	case StateLive, StateClosed:
	default:
		return header{}, fmt.Errorf("%w: %v", ErrCorrupt, h.state)
	}
	said, capacity := h.order.Uint64(b[offSize:]), h.order.Uint64(b[offCapacity:])
	if said < MinSize || said > MaxSize || capacity > MaxInstruments || valuesAt(int(capacity)) > int64(said) {
		return header{}, fmt.Errorf("%w: %d bytes with room for %d descriptors", ErrCorrupt, said, capacity)
	}
	if int64(said) > size {
		return header{}, fmt.Errorf("%w: %d of %d bytes are there", ErrTruncated, size, said)
	}
	h.size, h.capacity = int64(said), int(capacity)
	// A PID that no kernel hands out stays 0, which no process has.
	if pid := h.order.Uint64(b[offPID:]); pid <= math.MaxInt32 {
		h.writer.pid = int(pid)
	}
	h.writer.start = h.order.Uint64(b[offStart:])
	copy(h.writer.boot[:], b[offBoot:])
	h.created = time.Unix(0, int64(h.order.Uint64(b[offCreated:])))
	return h, nil
}
