package ring

// What a broadcast ring has beyond the common layout: words by which a reader
// that may not write anything finds its way and notices that it was lapped.
//
//	 256 │ cursor u64: bytes ever published ─ newest u64: where the last batch's first record begins │
//	 768 │ intent u64: bytes that are written, or may be being written, now                          │
//	1024 │ 16 waypoints u64: where a batch's first record begins, one for each sixteenth of the ring │
//
// Publisher and subscribers hold that, in the order of positions:
//
//	   intent-size      newest     cursor        intent
//	        ▼              ▼          ▼             ▼
//	────────┬──────────────┬──────────┬─────────────┬────
//	 may be │ intact       │ intact,  │ claimed, or │
//	 over-  │              │ the last │ may be soon │
//	 written│              │ batch    │             │
//	────────┴──────────────┴──────────┴─────────────┴────
//
// A record at position p is intact if p >= intent-size when it was read.
//
// A record, which differs from those of other rings by its number:
//
//	0           4                24                32
//	┌───────────┬────────────────┬─────────────────┬─────────┬ ─ ─ ┐
//	│commit word│ header         │ sequence u64    │ payload │slack │
//	└───────────┴────────────────┴─────────────────┴─────────┴ ─ ─ ┘
//
// The commit word is only a length here; the cursor publishes.
const (
	offNewest    = offWriterCursor + 8
	offWaypoints = 1024

	waypointCount = 16
	offSequence   = prefixSize
	numberedSize  = prefixSize + 8 // what precedes a payload

	// A claimant holds at most a quarter of the ring unpublished and raises
	// intent at most an eighth ahead, so that at any time the newest batch,
	// and at least a quarter of the ring before it, is intact.
	unpublishedPart = 4
	recordPart      = 8
	aheadPart       = 32
)

var (
	_ = [1]struct{}{}[offSequence%8]
	_ = [1]struct{}{}[numberedSize%8]
	_ = [1]struct{}{}[offReaderCursor/(offIntent+1)]
	_ = [1]struct{}{}[(offWaypoints+waypointCount*8)/(controlSize+1)]
	_ = [1]struct{}{}[MinSize/aheadPart%line]
)

// numberedSpan returns the bytes that a record with a payload of n bytes takes
// in a broadcast ring.
func numberedSpan(n int) uint64 { return (uint64(n) + numberedSize + line - 1) &^ (line - 1) }

// numberedMax is the largest payload of a broadcast ring of size bytes.
func numberedMax(size uint64) int { return int(size/recordPart) - numberedSize }
