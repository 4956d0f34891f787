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
	version = 1
)

// A record:
//
//	0           4                              24
//	┌───────────┬──────────────────────────────┬───────────────────┬ ─ ─ ┐
//	│commit word│ header (20 bytes)            │ payload           │slack │
//	└───────────┴──────────────────────────────┴───────────────────┴ ─ ─ ┘
//	└──────────────────────────── span, a multiple of 64 ────────────────┘
//
// The payload begins 8-aligned, and one of 40 bytes fills a cache line. The
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

// spanOf returns the bytes that a record with a payload of n bytes takes.
func spanOf(n int) uint64 { return (uint64(n) + prefixSize + line - 1) &^ (line - 1) }

// maxPayload is the largest payload of a ring of size bytes. A record never
// wraps, so padding of up to span-64 bytes may precede it, and one line stays
// free for the end mark: 2*span - 64 + 64 <= size.
func maxPayload(size uint64) int { return int(size/2) - prefixSize }
