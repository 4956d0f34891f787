package ring

import (
	"fmt"
	"sync/atomic"

	"github.com/cell-runtime/cell/wire"
)

// How producers share a ring. The writer's cursor is the position up to which
// everything is claimed; a claim moves it by a compare-and-swap. Who owns
// which claim, the consumer must be able to find out when an owner has died,
// whatever the moment. So a claim takes four steps:
//
//	1 announce   slot: intent = [position, length)
//	2 take       writer's cursor: position -> position + length
//	3 pad        the records would cross the end of the memory: padding up to it
//	4 mark       front of the run: claimed, owner's slot, length of the run
//
// and a commit two:
//
//	5 fill       records 2…n of the run: header and commit word; if claims stay
//	             behind in the run, the mark for the rest
//	6 publish    commit word of record 1, with release, in place of the mark
//
// Invariant Z (zero): outside of claims, the first word of every line is zero.
// The memory begins so, and the consumer restores it before it gives memory
// back. Old bytes can therefore never pass for a commit word.
//
// Invariant M (mark): the consumer can't get past a mark, and a mark covers
// all that its owner holds of that run. So it doesn't matter what stands
// behind the mark, one ordered store publishes any number of records, and what
// a dying producer leaves behind is a prefix of what it committed, with no
// hole.
//
// docs/RING-MPSC-BROADCAST.md goes through the gaps between the steps.

// SharedProducer is one of up to 64 writing sides of an MPSC ring, in any
// number of processes that trust each other. One goroutine uses it at a time;
// another goroutine needs a SharedProducer of its own. Stop may be called from
// any.
type SharedProducer struct {
	data arena
	size uint64
	mask uint64
	head uint64  // the consumer's cursor as last read, checked
	tail *uint64 // shared by all producers

	cursor *uint64 // the consumer's, shared
	space  *uint32 // the word on which producers sleep
	reader *uint32 // the consumer's flags
	id     uint32  // of the slot
	slot   slot
	open   int  // claims outstanding
	dirty  bool // something was committed since the last Flush
	closed bool
	max    int
	state  stopState
	wake   waker
	stats  Stats
	guard  claimGuard
	trap   func(step) // tests stop or kill the producer between steps
	runs   placements
	_      [line]byte
}

// step is a moment in the life of a claim at which a producer may die.
type step int

const (
	stepBegun step = iota
	stepAnnounced
	stepTaken
	stepPadded
	stepMarked
	stepFilled    // one record of several
	stepRemainder // the rest of the run is marked
	stepPublished
	stepAborted // one run of several
	stepCount
)

func (p *SharedProducer) at(s step) {
	if p.trap != nil {
		p.trap(s)
	}
}

// NewSharedProducer takes one of the 64 producers' slots of m; Close frees it.
// peer is the doorbell that wakes the consumer, nil if it never sleeps. The
// consumer need not exist yet. Producers and consumer must see each other's
// pids (one pid namespace) if the consumer is to recover from deaths by
// itself. Errors: ErrKind, ErrInUse (all slots are taken), ErrClosed.
func NewSharedProducer(m *Memory, peer *Doorbell) (*SharedProducer, error) {
	return newSharedProducer(m, peer, self())
}

func newSharedProducer(m *Memory, peer *Doorbell, id uint64) (*SharedProducer, error) {
	if m.kind != MPSC {
		return nil, fmt.Errorf("%w: it is %v, wanted %v", ErrKind, m.kind, MPSC)
	}
	if m.mapping == nil {
		return nil, ErrClosed
	}
	for i := range uint32(slotCount) {
		s := m.slot(i)
		if !atomic.CompareAndSwapUint64(s.owner, 0, id) {
			continue
		}
		return &SharedProducer{
			data: m.data, size: m.size, mask: m.size - 1,
			tail: m.control.u64(offWriterCursor), cursor: m.control.u64(offReaderCursor),
			space: m.control.word(offWriterSleep), reader: m.control.word(offReaderFlags),
			id: i, slot: s,
			wake:  m.newWaker(offReaderSleep, offWriterFlags, peer),
			max:   maxPayload(m.size),
			guard: m.newClaimGuard(),
		}, nil
	}
	return nil, fmt.Errorf("%w: all %d producers' slots; close some, or let the consumer's Recover free those of the dead", ErrInUse, slotCount)
}

// MaxPayload returns the most payload bytes of one record.
func (p *SharedProducer) MaxPayload() int { return p.max }

// Claim reserves places for up to len(out) records of up to size payload bytes
// each, sets out[i].Payload to them and returns how many there are; fewer than
// asked for means that the ring is full after those, or that 256 separate runs
// of claims are outstanding: commit them. The caller owns the places until
// Commit or Abort, and the consumer gets no further than the oldest of them
// all, so hold them briefly. Headers are left alone. Errors, each with n = 0:
// ErrFull, ErrTooLarge, ErrClosed, ErrPeerGone, ErrCorrupt.
func (p *SharedProducer) Claim(out []wire.Vesicle, size int) (n int, err error) {
	if uint(size) > uint(p.max) {
		return 0, ErrTooLarge
	}
	if err := p.state.err(); err != nil {
		return 0, err
	}
	span := spanOf(size)
	for n < len(out) {
		got, err := p.claimRun(out[n:], size, span)
		if err != nil {
			return 0, err
		}
		if got == 0 {
			break
		}
		n += got
	}
	if n == 0 && len(out) > 0 {
		p.stats.Full++
		return 0, ErrFull
	}
	return n, nil
}

// claimRun claims as many records as lie in one piece, by one compare-and-swap.
func (p *SharedProducer) claimRun(out []wire.Vesicle, size int, span uint64) (int, error) {
	if p.runs.full() {
		return 0, nil
	}
	p.at(stepBegun)
	for announced := false; ; announced = true {
		pos, pad, n, err := p.room(uint64(len(out)), span)
		if n == 0 {
			if announced {
				p.slot.withdraw() // lest it seem to cover another's claim
			}
			return 0, err
		}
		length := pad + n*span
		p.slot.announce(pos, length)
		p.at(stepAnnounced)
		// The swap also releases the announcement.
		if !atomic.CompareAndSwapUint64(p.tail, pos, pos+length) {
			continue
		}
		p.at(stepTaken)
		if pad != 0 {
			storeRelease32(p.data.word(pos&p.mask), uint32(pad)|statePadding)
			p.at(stepPadded)
		}
		p.mark(pos+pad, span, n)
		p.at(stepMarked)
		off, shift := (pos+pad)&p.mask, shiftOf(span)
		for i := range out[:n] {
			out[i].Payload = p.guard.place(p.data, off+shift, size)
			off += span
		}
		p.open += int(n)
		return int(n), nil
	}
}

// room finds the place of the next claim: after pad bytes up to the end of the
// memory, n records of span bytes; n is 0 if there is no room for one. Both
// cursors are bounded before they are believed.
func (p *SharedProducer) room(want, span uint64) (pos, pad, n uint64, err error) {
	pos = atomic.LoadUint64(p.tail)
	if pos-p.head > p.size-line || pos+p.wrap(pos, span)+want*span > p.head+p.size-line {
		// The acquire load orders the consumer's reads, and its zeroes, before
		// our writes.
		head := atomic.LoadUint64(p.cursor)
		if head < p.head || head&(line-1) != 0 {
			return 0, 0, 0, p.corrupt()
		}
		p.head = head
		if pos < head {
			pos = atomic.LoadUint64(p.tail) // it was older than head
		}
		if pos-head > p.size-line {
			return 0, 0, 0, p.corrupt()
		}
	}
	if pos&(line-1) != 0 {
		return 0, 0, 0, p.corrupt()
	}
	pad = p.wrap(pos, span)
	end := p.head + p.size - line // claims end here at the latest
	if end-pos < pad+span {
		return pos, 0, 0, nil
	}
	piece := min(end-pos-pad, p.size-(pos+pad)&p.mask)
	if n = want; n*span > piece {
		n = piece / span
	}
	return pos, pad, n, nil
}

// wrap returns the padding before a record at pos, which never wraps.
func (p *SharedProducer) wrap(pos, span uint64) uint64 {
	if off := pos & p.mask; off+span > p.size {
		return p.size - off
	}
	return 0
}

func (p *SharedProducer) corrupt() error {
	p.state.stop(stopCorrupt)
	return p.state.err()
}

// mark remembers n claims at pos and marks them, as part of the newest run if
// they continue it.
func (p *SharedProducer) mark(pos, span, n uint64) {
	if !p.runs.empty() && pos&p.mask != 0 {
		if r := p.runs.last(); uint64(r.span) == span && r.end() == pos {
			r.count += uint32(n)
			storeRelease32(p.data.word(r.pos&p.mask), claimedWord(p.id, r.length()))
			return
		}
	}
	storeRelease32(p.data.word(pos&p.mask), claimedWord(p.id, n*span))
	p.runs.push(placed{pos: pos, span: uint32(span), count: uint32(n)})
}

// Commit takes back the oldest len(vs) claims, in order, and seals each record
// with vs[i].Header, of which it sets Length from len(vs[i].Payload). The
// payload may have been shortened, which frees nothing. The consumer may see
// the records at once; only Flush wakes it. Errors: ErrOrder if there are more
// vesicles than claims, by which nothing is changed, or at a payload that is
// not the claimed place, after which those before it are committed and the
// rest still claimed.
func (p *SharedProducer) Commit(vs []wire.Vesicle) error {
	if len(vs) > p.open {
		return ErrOrder
	}
	for len(vs) > 0 {
		r := p.runs.front()
		most := min(len(vs), int(r.count))
		n := p.commitRun(r, vs[:most])
		if n < most {
			return ErrOrder
		}
		vs = vs[n:]
	}
	return nil
}

// commitRun commits the first len(vs) claims of r, or as many as are in order.
func (p *SharedProducer) commitRun(r *placed, vs []wire.Vesicle) (n int) {
	pos, word, bytes := r.pos, r.span|stateReady, uint64(0)
	shift, room := shiftOf(uint64(r.span)), roomOf(uint64(r.span))
	for n < len(vs) {
		v := &vs[n]
		off, size := pos&p.mask, len(v.Payload)
		if size > room || !p.guard.takeBack(p.data, off+shift, v.Payload) {
			break
		}
		v.Header.Length = uint32(size)
		v.Header.Put(p.data.header(off))
		if n > 0 { // the front keeps its mark until the rest is in place
			*p.data.word(off) = word
		}
		pos += uint64(r.span)
		bytes += uint64(size)
		n++
		p.at(stepFilled)
	}
	if n == 0 {
		return 0
	}
	front := r.pos
	r.pos = pos
	r.count -= uint32(n)
	if r.count == 0 {
		p.runs.pop()
	} else {
		*p.data.word(pos & p.mask) = claimedWord(p.id, r.length())
		p.at(stepRemainder)
	}
	storeRelease32(p.data.word(front&p.mask), word)
	p.at(stepPublished)
	p.open -= n
	p.dirty = true
	p.stats.Records += uint64(n)
	p.stats.Bytes += bytes
	return n
}

// Flush wakes the consumer if it sleeps and something was committed since the
// last Flush. It makes no system call otherwise.
func (p *SharedProducer) Flush() error {
	if p.dirty {
		p.dirty = false
		p.stats.Flushes++
		p.wake.afterPublish()
	}
	return p.state.err()
}

// Abort gives up all outstanding claims: each run becomes padding. It flushes,
// because others' records may have waited behind the claims.
func (p *SharedProducer) Abort() {
	for ; !p.runs.empty(); p.runs.pop() {
		r := p.runs.front()
		storeRelease32(p.data.word(r.pos&p.mask), uint32(r.length())|statePadding)
		p.dirty = true
		p.at(stepAborted)
	}
	p.open = 0
	p.guard.drop()
	_ = p.Flush()
}

// Close aborts what is claimed and frees the slot for another producer. It
// belongs to the producer's goroutine, and comes before the memory's Close. A
// second Close does nothing.
func (p *SharedProducer) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	p.state.stop(stopClosed)
	p.Abort()
	p.slot.withdraw()
	atomic.StoreUint64(p.slot.owner, 0)
	return nil
}

// Stats returns the producer's counters.
func (p *SharedProducer) Stats() Stats {
	s := p.stats
	s.Wakes = p.wake.wakes
	return s
}
