package ring

import "github.com/cell-runtime/cell/wire"

// The memory of a ring, offsets in bytes, words in host order (a ring never
// leaves its host):
//
//	    0 ┌ magic u64 ─ version u32 ─ kind u32 ─ size u64 ─ data offset u32 ┐ written once, by Create
//	  128 │ reader's cursor u64: bytes ever released                        │ written by the reader
//	  256 │ writer's cursor u64: bytes ever published (MPSC: ever claimed)  │ written by the writer(s)
//	  384 │ reader asleep u32                                               │ set by the reader, cleared by either
//	  512 │ writer asleep u32                                               │ set by the writer, cleared by either
//	  640 │ roles: reader pid u32, writer pid u32, barrier flags u32 ×2     │ written once by each side
//	  768 │ broadcast: intent u64 (bytes that may be being overwritten)     │ written by the publisher
//	 4096 │ MPSC only: 64 slots of 64 bytes, one for each producer          │
//	dataO ├──────────────────────────────────────────────────────────────────┤
//	      │ records, each on a 64-byte boundary                              │
//	      └──────────────────────────────────────────────────────────────────┘
//
// Words with different writers sit 128 bytes apart, not 64: the spatial
// prefetchers of current x86 cores fetch lines in pairs.
const (
	offMagic      = 0
	offVersion    = 8
	offKind       = 12
	offSize       = 16
	offDataOffset = 24

	offReaderCursor = 128
	offWriterCursor = 256
	offReaderSleep  = 384
	offWriterSleep  = 512
	offReaderPID    = 640
	offWriterPID    = 644
	offReaderFlags  = 648
	offWriterFlags  = 652
	offIntent       = 768

	controlSize = 4096
	offSlots    = controlSize
	slotSize    = 64
	slotCount   = 64

	magic   = 0x31474e4952434c43 // "CLCRING1" in little endian
	version = 2
)

// A record:
//
//	0           4                              24
//	┌───────────┬──────────────────────────────┬───────────────────┬ ─ ─ ┐
//	│commit word│ header (20 bytes)            │ payload           │slack │
//	└───────────┴──────────────────────────────┴───────────────────┴ ─ ─ ┘
//	└──────────────────────────── span, a multiple of 64 ────────────────┘
//
// The payload begins 8-aligned, and one of 40 bytes fills a cache line. From
// bulkSpan on, slack of 40 bytes precedes it, so that it begins with a line. The
// commit word is span|state; a span is a multiple of 64, so the low six bits
// are free for the state. Zero is "nothing here yet", whatever the length of
// the vesicle, so a zero-length vesicle is as readable as any.
const (
	line         = 64
	prefixSize   = 4 + wire.HeaderSize // what precedes a payload
	spanMask     = ^uint32(line - 1)
	stateMask    = uint32(line - 1)
	stateEmpty   = 0
	stateReady   = 1 // header and payload are complete
	statePadding = 2 // skip span bytes: the end of the memory, or an aborted claim
	stateClaimed = 3 // MPSC only: a producer is writing here

	// MinSize and MaxSize bound Options.Size, in bytes of records.
	MinSize = 4 << 10
	MaxSize = 1 << 30
)

// A span must fit into the commit word next to the state, and the prefix must
// keep payloads 8-aligned.
var (
	_ = [1]struct{}{}[prefixSize%8]
	_ = [1]struct{}{}[MaxSize%line]
	_ = [1]struct{}{}[MaxSize>>31]
)

// bulkSpan is the span from which on a payload begins on the record's second
// line, instead of at 24: copies of many lines are faster into whole lines than
// across them (measured; see docs/RING.md), and the 40 bytes are little then.
// The span alone decides, so that both sides know. Not for broadcast.
const bulkSpan = 1 << 10

// shiftOf returns how far beyond 24 the payload of a record begins.
func shiftOf(span uint64) uint64 {
	if span >= bulkSpan {
		return line - prefixSize
	}
	return 0
}

// roomOf returns the most payload bytes of a record.
func roomOf(span uint64) int { return int(span - prefixSize - shiftOf(span)) }

// spanOf returns the bytes that a record with a payload of n bytes takes.
func spanOf(n int) uint64 {
	span := (uint64(n) + prefixSize + line - 1) &^ (line - 1)
	if span >= bulkSpan {
		span = (uint64(n) + line + line - 1) &^ (line - 1)
	}
	return span
}

// shortened returns the span of a record that was claimed with one of span
// bytes and has a payload of n: where the payload begins, it stays.
func shortened(span uint64, n int) uint64 {
	if span >= bulkSpan {
		return max(spanOf(n), bulkSpan)
	}
	return spanOf(n)
}

// maxPayload is the largest payload of a ring of size bytes. A record never
// wraps, so padding of up to span-64 bytes may precede it, and one line stays
// free for the end mark: 2*span - 64 + 64 <= size.
func maxPayload(size uint64) int { return roomOf(size / 2) }
