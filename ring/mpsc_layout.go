package ring

import "sync/atomic"

// What an MPSC ring has beyond the common layout: a slot for each producer, so
// that the consumer can find out who owns a claim on which it is stuck, and a
// form of the commit word that names the owner.
//
// A slot, 64 bytes from offSlots on:
//
//	0         8          16         24
//	┌─────────┬──────────┬──────────┬─ ─ ─┐
//	│ owner   │ position │ length   │     │
//	└─────────┴──────────┴──────────┴─ ─ ─┘
//	  │         └──────────┴── intent: what this producer is about to claim, or
//	  │                        claimed last; length 0 means nothing
//	  └── pid<<32 | low half of the process's start time; 0 means free
//
// Owner is one word so that a slot is taken in one step: a producer that dies
// at any moment leaves a slot that is free or names it.
const (
	slotOwner    = 0
	slotPosition = 8
	slotLength   = 16
)

type slot struct {
	owner, position, length *uint64
}

func (m *Memory) slot(i uint32) slot {
	off := offSlots + uint64(i%slotCount)*slotSize
	return slot{m.control.u64(off + slotOwner), m.control.u64(off + slotPosition), m.control.u64(off + slotLength)}
}

// announce says what the owner is about to claim. The consumer may see halves
// of two announcements; docs/RING-MPSC-BROADCAST.md argues why that is harmless.
func (s *slot) announce(position, length uint64) {
	storeRelease64(s.position, position)
	storeRelease64(s.length, length)
}

// withdraw takes an announcement back that led to no claim.
func (s *slot) withdraw() { storeRelease64(s.length, 0) }

// intent returns what was announced last.
func (s *slot) intent() (position, length uint64) {
	return atomic.LoadUint64(s.position), atomic.LoadUint64(s.length)
}

// A commit word in state claimed stands at the front of a run of claims and
// covers what is left of it, whatever stands behind it in the run:
//
//	31                    8 7       2 1 0
//	┌──────────────────────┬─────────┬───┐
//	│ length of the run    │ slot of │ 3 │
//	│ in lines             │ owner   │   │
//	└──────────────────────┴─────────┴───┘
const (
	claimBits     = 3 // these two bits tell stateClaimed from all other states
	claimSlotBits = 2
	claimLineBits = 8
	lineBits      = 6
)

var (
	_ = [1]struct{}{}[line-1<<lineBits]
	_ = [1]struct{}{}[slotCount>>(claimLineBits-claimSlotBits+1)]
	_ = [1]struct{}{}[(MaxSize-line)>>lineBits>>(32-claimLineBits)]
	_ = [1]struct{}{}[stateClaimed^claimBits]
)

func claimedWord(slot uint32, length uint64) uint32 {
	return uint32(length>>lineBits)<<claimLineBits | slot<<claimSlotBits | stateClaimed
}

func isClaimed(w uint32) bool { return w&claimBits == stateClaimed }

// parseClaimed undoes claimedWord; every word has a slot and a length.
func parseClaimed(w uint32) (slot uint32, length uint64) {
	return w >> claimSlotBits & (slotCount - 1), uint64(w>>claimLineBits) << lineBits
}

// placed is a run of outstanding claims of one span, contiguous in the ring.
type placed struct {
	pos   uint64
	span  uint32
	count uint32
}

// placedCount bounds the runs that a producer may have outstanding; other
// producers' claims in between begin a new one.
const placedCount = 256

// placements remembers a shared producer's outstanding runs, oldest first, in
// private memory.
type placements struct {
	q          [placedCount]placed
	head, tail uint32
}

func (q *placements) empty() bool    { return q.head == q.tail }
func (q *placements) full() bool     { return q.tail-q.head == placedCount }
func (q *placements) front() *placed { return &q.q[q.head%placedCount] }
func (q *placements) last() *placed  { return &q.q[(q.tail-1)%placedCount] }
func (q *placements) pop()           { q.head++ }
func (q *placements) push(r placed) {
	q.q[q.tail%placedCount] = r
	q.tail++
}

func (r *placed) length() uint64 { return uint64(r.span) * uint64(r.count) }
func (r *placed) end() uint64    { return r.pos + r.length() }
