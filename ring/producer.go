package ring

import (
	"sync/atomic"

	"github.com/cell-runtime/cell/wire"
)

// How a Producer uses its memory. Positions count bytes and never wrap; the
// offset of a position is its low bits.
//
//	   head        flushed      commit         claim        marked    head+size
//	    ▼             ▼            ▼             ▼             ▼           ▼
//	────┬─────────────┬────────────┬─────────────┬─────────────┬───────────┬──
//	    │ published,  │ committed, │ claimed, the│ free, first │ free, old │
//	    │ unread      │ invisible  │ user writes │ words zero  │ bytes     │
//	────┴─────────────┴────────────┴─────────────┴─────────────┴───────────┴──
//
// Invariant E (end mark): the commit word at the position where the reader
// will stop is zero before anything in front of it becomes visible. Old
// payload bytes can therefore never pass for a commit word.
//
// Invariant P (publication): the reader can't get past flushed, because the
// first record committed since the last flush keeps a zero commit word until
// Flush stores it, with release, after everything else. One ordered store
// publishes any number of records.
//
// The end mark is written ahead of need (marked), after a flush, when nobody
// waits for it: written just before the publishing store, it would have to
// own its cache line first, and on x86 the publication would queue behind it.

// Producer is the writing side of an SPSC ring. One goroutine uses it at a
// time; Stop may be called from any.
type Producer struct {
	data    arena
	size    uint64
	mask    uint64
	head    uint64 // the reader's cursor as last read, checked
	flushed uint64
	commit  uint64
	claim   uint64
	marked  uint64
	owned   uint64 // lines up to here have been asked for, to be written
	limit   uint64 // head + size - line: claims end here at the latest

	first uint32 // commit word held back until Flush
	open  int    // claims outstanding
	runs  runs
	state stopState
	wake  waker

	cursor *uint64 // the reader's, shared
	tail   *uint64 // ours, shared, for tools
	space  sleeper
	max    int
	stats  Stats
	short  uint64 // by how much single lines since settle were less than full
	mem    *Memory
	guard  claimGuard
	_      [line]byte // whoever is allocated behind must not share our last line
}

// Stats counts what one side of a ring did. It is plain memory of that side's
// goroutine.
type Stats struct {
	Records uint64 // committed, or polled
	Bytes   uint64 // payload bytes of those
	Flushes uint64 // batches published, or released
	Full    uint64 // times Claim found no room
	Wakes   uint64 // system calls made to wake the peer
}

// NewProducer takes the writing side of m. own is the doorbell that the peer
// rings when room appears, peer the one that wakes the reader; either may be
// nil if that side never sleeps. Errors: ErrKind, ErrInUse, ErrCorrupt (the
// ring has been used).
func NewProducer(m *Memory, own, peer *Doorbell) (*Producer, error) {
	if m.kind != SPSC {
		return nil, ErrKind
	}
	if err := m.takeRole(offWriterPID, "producer"); err != nil {
		return nil, err
	}
	p := &Producer{
		data: m.data, size: m.size, mask: m.size - 1,
		limit:  m.size - line,
		cursor: m.control.u64(offReaderCursor), tail: m.control.u64(offWriterCursor),
		space: m.newSleeper(offWriterSleep, offReaderFlags, own),
		wake:  m.newWaker(offReaderSleep, offWriterFlags, peer),
		max:   maxPayload(m.size), mem: m,
		guard: m.newClaimGuard(),
	}
	if atomic.LoadUint64(p.cursor) != 0 || atomic.LoadUint64(p.tail) != 0 {
		return nil, ErrCorrupt
	}
	return p, nil
}

// MaxPayload returns the most payload bytes of one record.
func (p *Producer) MaxPayload() int { return p.max }

// Claim reserves places for up to len(out) records of up to size payload bytes
// each, sets out[i].Payload to them and returns how many there are; fewer than
// asked for means that the ring is full after those, or that some 60 runs of
// differently sized claims are outstanding: commit them. The caller owns the
// places until Commit or Abort. Headers are left alone. Errors, each with
// n = 0: ErrFull, ErrTooLarge, ErrClosed, ErrPeerGone, ErrCorrupt.
func (p *Producer) Claim(out []wire.Vesicle, size int) (n int, err error) {
	if uint(size) > uint(p.max) {
		return 0, ErrTooLarge
	}
	p.settle()
	if err := p.state.err(); err != nil {
		return 0, err
	}
	span := spanOf(size)
	if off := p.claim & p.mask; len(out) == 1 && off+span <= p.size && p.claim+span <= p.limit && p.runs.push(uint32(span), 1, false) {
		// One record in one piece, known to be free: what most calls want.
		out[0].Payload = p.guard.place(p.data, off+shiftOf(span), size)
		p.claim += span
		p.open++
		return 1, nil
	}
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

// settle catches up with single lines written by Write, which moves flushed
// alone: each of them is a batch of one record of one line.
func (p *Producer) settle() {
	if p.claim < p.flushed {
		n := (p.flushed - p.claim) / line
		p.stats.Records += n
		p.stats.Flushes += n
		p.stats.Bytes += n*onePayload - p.short
		p.claim, p.commit, p.short = p.flushed, p.flushed, 0
	}
}

// claimRun claims as many records as lie in one piece.
func (p *Producer) claimRun(out []wire.Vesicle, size int, span uint64) (n int, err error) {
	pos, pad := p.claim, uint64(0)
	if off := pos & p.mask; off+span > p.size {
		pad = p.size - off // a record never wraps
	}
	if pos+pad+span > p.limit {
		if err := p.refresh(); err != nil {
			return 0, err
		}
		if pos+pad+span > p.limit {
			return 0, nil
		}
	}
	if p.runs.full(2) || pad != 0 && !p.runs.push(uint32(pad), 1, true) {
		return 0, nil
	}
	pos += pad
	off := pos & p.mask
	// Claims go up to the end of the memory, or of what is known to be free.
	end := min(p.size, off+p.limit-pos)
	shift := shiftOf(span)
	for n < len(out) && off+span <= end {
		out[n].Payload = p.guard.place(p.data, off+shift, size)
		off += span
		n++
	}
	p.runs.push(uint32(span), uint32(n), false)
	p.open += n
	p.claim = pos + uint64(n)*span
	return n, nil
}

// refresh reads the reader's cursor, which a hostile reader may have set to
// anything: it may only grow, in whole lines, and never past what was
// published. The acquire load orders the reader's reads before our writes.
func (p *Producer) refresh() error {
	c := atomic.LoadUint64(p.cursor)
	if c < p.head || c > p.flushed || c&(line-1) != 0 {
		p.state.stop(stopCorrupt)
		return ErrCorrupt
	}
	p.head = c
	p.limit = c + p.size - line
	return nil
}

// Commit takes back the oldest len(vs) claims, in order, and seals each record
// with vs[i].Header, of which it sets Length from len(vs[i].Payload). The
// payload may have been shortened. Nothing becomes visible before Flush.
// Errors: ErrOrder if there are more vesicles than claims, by which nothing is
// changed, or at a payload that is not the claimed place, after which those
// before it are committed and the rest still claimed.
func (p *Producer) Commit(vs []wire.Vesicle) error {
	if len(vs) > p.open {
		return ErrOrder
	}
	for len(vs) > 0 {
		r := p.runs.front()
		span, n := r.span, 0
		if r.padding {
			p.seal(p.commit&p.mask, span|statePadding)
			p.commit += uint64(span)
			p.runs.pop(r, 1)
			continue
		}
		if !mirrored && span == line && p.commit != p.flushed {
			if n := p.commitLines(r, vs); n > 0 {
				vs = vs[n:]
				continue
			}
		}
		pos, bytes, most := p.commit, uint64(0), min(len(vs), int(r.count))
		shift, room := shiftOf(uint64(span)), roomOf(uint64(span))
		for n < most {
			v := &vs[n]
			off, size := pos&p.mask, len(v.Payload)
			if size > room || !p.guard.takeBack(p.data, off+shift, v.Payload) {
				break
			}
			v.Header.Length = uint32(size)
			v.Header.Put(p.data.header(off))
			word := span | stateReady
			pos += uint64(span)
			if least := shortened(uint64(span), size); pos == p.claim && least < uint64(span) {
				pos -= p.giveBack(uint64(span) - least)
				word = uint32(least) | stateReady
			}
			p.seal(off, word)
			bytes += uint64(size)
			n++
		}
		p.commit = pos
		p.stats.Records += uint64(n)
		p.stats.Bytes += bytes
		p.runs.pop(r, uint32(n))
		p.open -= n
		if n < most {
			return ErrOrder
		}
		vs = vs[n:]
	}
	return nil
}

// commitLines commits claims of one line each, the fronts of r and vs, as long
// as nothing is wrong with them. The first word since the last flush, which
// invariant P holds back, is not its affair.
func (p *Producer) commitLines(r *run, vs []wire.Vesicle) (n int) {
	off := p.commit & p.mask // claims of several runs may be one in r, but don't wrap here
	most := min(uint64(len(vs)), uint64(r.count), (p.size-off)/line)
	n, bytes := p.data.sealLines(off, vs[:most])
	p.commit += uint64(n) * line
	p.stats.Records += uint64(n)
	p.stats.Bytes += bytes
	p.runs.pop(r, uint32(n))
	p.open -= n
	return n
}

// seal stores a commit word or, by invariant P, holds it back.
func (p *Producer) seal(off uint64, word uint32) {
	if off == p.flushed&p.mask {
		p.first = word
	} else {
		*p.data.word(off) = word
	}
}

// giveBack frees what the newest claim of all did not use, and returns it. The
// user's bytes in it are no end mark.
func (p *Producer) giveBack(unused uint64) uint64 {
	p.claim -= unused
	p.marked = min(p.marked, p.claim)
	return unused
}

// Abort gives up all outstanding claims. What was committed stays committed.
func (p *Producer) Abort() {
	p.settle()
	p.runs.clear()
	p.open = 0
	p.claim = p.commit
	p.marked = min(p.marked, p.commit) // the user may have written there
	p.guard.drop()
}

// Flush makes everything committed visible to the reader, in one ordered
// store, and wakes it if it sleeps. It makes no system call otherwise.
func (p *Producer) Flush() error {
	if p.commit > p.flushed {
		if p.marked <= p.commit || p.claim != p.commit {
			// Invariant E. Also when claims are outstanding: the next record's
			// first word is ours, not the user's.
			*p.data.word(p.commit & p.mask) = 0
			p.marked = max(p.marked, p.commit+line)
		}
		storeRelease32(p.data.word(p.flushed&p.mask), p.first)
		batch := p.commit - p.flushed
		p.flushed = p.commit
		p.stats.Flushes++
		p.wake.afterPublish()
		*p.tail = p.commit // for tools; nobody orders anything by it
		p.markAhead(max(p.marked, p.claim), p.claim)
		p.own(p.claim, batch)
	}
	return p.state.err()
}

// What is done for the next publication, after one, when nobody waits for it.
//
// End marks are written two lines ahead. That keeps them off the critical path
// of a round trip, and more of them disturb it (the reader's prefetcher fetches
// them away again).
//
// The lines that the next batch will fill are asked for, because the reader's
// core has them. A store that has to wait for its line holds up every store
// behind it, on x86 for good reason: they become visible in order; so a writer
// that asks by storing has few lines under way at a time. A stream of single
// records asks for several lines at once, and early: asked for one by one they
// would come too late. Measured; see docs/RING.md.
const (
	markLines = 2 * line
	ownLeast  = 8 * line
	ownMost   = 64 * line
)

// markAhead writes end marks from position from on, behind the claims, as far
// as memory is free.
func (p *Producer) markAhead(from, claim uint64) {
	to := min(claim+markLines, p.limit)
	for ; from < to; from += line {
		*p.data.word(from & p.mask) = 0
	}
	p.marked = from
}

// own asks for the lines of the next batch, which is expected to be as long as
// the last one.
func (p *Producer) own(claim, batch uint64) {
	if p.owned >= claim+ownLeast && batch <= ownLeast {
		return // enough in reserve
	}
	from := max(p.owned, claim)
	to := min(claim+max(batch+line, 2*ownLeast), claim+ownMost, p.limit)
	if from >= to {
		return
	}
	p.owned = to
	if off := from & p.mask; off+to-from > p.size {
		p.data.prefetch(off, p.size-off)
		p.data.prefetch(0, off+to-from-p.size)
	} else {
		p.data.prefetch(off, to-from)
	}
}

// FreeLines returns how many vesicles of up to 40 payload bytes Write would
// take now, up to want of them. No claim may be outstanding.
func (p *Producer) FreeLines(want int) int {
	p.settle()
	if free := (p.limit - min(p.commit, p.limit)) / line; free >= uint64(want) || p.refresh() != nil {
		return min(int(free), want)
	}
	return min(int((p.limit-min(p.commit, p.limit))/line), want)
}

// ArmSpace announces that the producer wants to sleep until a record of size
// payload bytes may fit, and returns false if there is no reason to sleep.
func (p *Producer) ArmSpace(size int) bool {
	if p.space.own == nil || p.hasSpace(size) || !p.space.arm() {
		return false
	}
	if p.hasSpace(size) {
		p.space.withdraw()
		return false
	}
	return true
}

// hasSpace is also true if the ring has failed: then Claim tells.
func (p *Producer) hasSpace(size int) bool {
	p.settle()
	span := spanOf(min(max(size, 0), p.max))
	off, pad := p.claim&p.mask, uint64(0)
	if off+span > p.size {
		pad = p.size - off
	}
	return p.state.err() != nil || p.refresh() != nil || p.claim+pad+span <= p.limit
}

// DisarmSpace ends what ArmSpace began.
func (p *Producer) DisarmSpace() { p.space.disarm(&p.state) }

// Stats returns the producer's counters.
func (p *Producer) Stats() Stats {
	p.settle()
	s := p.stats
	s.Wakes = p.wake.wakes
	return s
}

// Unread returns how many bytes of records are published and not yet released.
func (p *Producer) Unread() int {
	if p.refresh() != nil {
		return 0
	}
	return int(p.flushed - p.head)
}
