package ring

import (
	"fmt"
	"math/bits"

	"github.com/cell-runtime/cell/wire"
)

// How a Publisher uses its memory. It waits for nobody, so subscribers must
// find out by themselves whether what they read was intact (a seqlock over
// positions; Lameter, "Effective Synchronization on Linux/NUMA Systems", 2005):
//
//	publisher                             subscriber
//	P1 intent = end of the claim          S1 cursor (acquire)
//	   store fence                        S2 read records
//	P2 write records                         load fence
//	P3 cursor (release)                   S3 intent: still within size of S2?
//
// If S2 read anything that P2 wrote over it, then S3 sees P1. Intent is raised
// ahead of need and the cursor moves once a flush, so that a batch costs two
// shared stores beside its records.

// Publisher is the writing side of a broadcast ring: it never waits for a
// subscriber. One goroutine uses it at a time; Stop may be called from any.
type Publisher struct {
	data    arena
	size    uint64
	mask    uint64
	flushed uint64
	commit  uint64
	claim   uint64
	raised  uint64 // intent, as published
	ahead   uint64 // how far beyond need it is raised
	most    uint64 // how much may be unpublished
	first   uint64 // the first record committed since the last flush
	records uint64 // how many were
	seq     uint64 // number of the next record

	open  int // claims outstanding
	runs  runs
	state stopState
	guard claimGuard
	max   int
	stats Stats

	cursor    *uint64 // these four are ours, shared
	newest    *uint64
	intent    *uint64
	waypoints [waypointCount]*uint64
	waypoint  uint64 // number of the last one set
	shift     int    // a position >> shift is the number of its waypoint

	sleepers []bed
	_        [line]byte
}

// bed is where one subscriber may sleep.
type bed struct {
	alarm *Alarm
	wake  waker
}

// NewPublisher takes the writing side of m, which this process must have
// created: whoever attaches has read-only memory. Errors: ErrKind, ErrInUse,
// ErrClosed.
func NewPublisher(m *Memory) (*Publisher, error) {
	if m.kind != Broadcast {
		return nil, fmt.Errorf("%w: it is %v, wanted %v", ErrKind, m.kind, Broadcast)
	}
	if err := m.takeRole(offWriterPID, "publisher"); err != nil {
		return nil, err
	}
	p := &Publisher{
		data: m.data, size: m.size, mask: m.size - 1,
		ahead: m.size / aheadPart, most: m.size / unpublishedPart, max: numberedMax(m.size),
		cursor: m.control.u64(offWriterCursor), newest: m.control.u64(offNewest),
		intent: m.control.u64(offIntent),
		shift:  bits.TrailingZeros64(m.size / waypointCount),
		guard:  m.newClaimGuard(),
	}
	for i := range p.waypoints {
		p.waypoints[i] = m.control.u64(offWaypoints + uint64(i)*8)
	}
	return p, nil
}

// MaxPayload returns the most payload bytes of one record.
func (p *Publisher) MaxPayload() int { return p.max }

// Sequence returns the number of the next record to be committed; the first
// is 0.
func (p *Publisher) Sequence() uint64 { return p.seq }

// Claim reserves places for up to len(out) records of up to size payload bytes
// each, sets out[i].Payload to them and returns how many there are. The caller
// owns the places until Commit or Abort. Headers are left alone. It may
// publish what was committed before.
//
// No subscriber can make a publisher wait: fewer places than asked for, or
// ErrFull for none, means that the caller itself holds a quarter of the ring,
// or some 60 runs of differently sized claims: commit them. Other errors:
// ErrTooLarge, ErrClosed.
func (p *Publisher) Claim(out []wire.Vesicle, size int) (n int, err error) {
	if uint(size) > uint(p.max) {
		return 0, ErrTooLarge
	}
	if err := p.state.err(); err != nil {
		return 0, err
	}
	span := numberedSpan(size)
	for n < len(out) {
		got := p.claimRun(out[n:], size, span)
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

// claimRun claims as many records as lie in one piece.
func (p *Publisher) claimRun(out []wire.Vesicle, size int, span uint64) (n int) {
	pos, pad := p.claim, uint64(0)
	if off := pos & p.mask; off+span > p.size {
		pad = p.size - off // a record never wraps
	}
	if pos+pad+span > p.flushed+p.most {
		p.publish()
		if pos+pad+span > p.flushed+p.most {
			return 0
		}
	}
	if p.runs.full(2) || pad != 0 && !p.runs.push(uint32(pad), 1, true) {
		return 0
	}
	pos += pad
	off := pos & p.mask
	end := min(p.size, off+p.flushed+p.most-pos)
	for n < len(out) && off+span <= end {
		out[n].Payload = p.guard.place(p.data, off+8, size)
		off += span
		n++
	}
	p.runs.push(uint32(span), uint32(n), false)
	p.open += n
	p.claim = pos + uint64(n)*span
	if p.claim > p.raised {
		p.raise()
	}
	return n
}

// raise says which memory may be written from now on, before it is. The fence
// keeps every later store into records behind it (step P1).
func (p *Publisher) raise() {
	p.raised = p.claim + p.ahead
	storeRelease64(p.intent, p.raised)
	storeFence()
}

// Commit takes back the oldest len(vs) claims, in order, and seals each record
// with vs[i].Header, of which it sets Length from len(vs[i].Payload), and the
// next sequence number. The payload may have been shortened. Errors: ErrOrder
// if there are more vesicles than claims, by which nothing is changed, or at a
// payload that is not the claimed place, after which those before it are
// committed and the rest still claimed.
func (p *Publisher) Commit(vs []wire.Vesicle) error {
	if len(vs) > p.open {
		return ErrOrder
	}
	for len(vs) > 0 {
		r := p.runs.front()
		if r.padding {
			*p.data.word(p.commit & p.mask) = r.span | statePadding
			p.commit += uint64(r.span)
			p.runs.pop(r, 1)
			continue
		}
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
func (p *Publisher) commitRun(r *run, vs []wire.Vesicle) (n int) {
	span, pos, bytes := r.span, p.commit, uint64(0)
	if p.records == 0 {
		p.first = pos
	}
	for n < len(vs) {
		v := &vs[n]
		off, size := pos&p.mask, len(v.Payload)
		if size > int(span)-numberedSize || !p.guard.takeBack(p.data, off+8, v.Payload) {
			break
		}
		v.Header.Length = uint32(size)
		v.Header.Put(p.data.header(off))
		*p.data.u64(off + offSequence) = p.seq + uint64(n)
		word := span | stateReady
		pos += uint64(span)
		if used := numberedSpan(size); pos == p.claim && used < uint64(span) {
			// The newest claim of all gives back what it did not use.
			word = uint32(used) | stateReady
			pos -= uint64(span) - used
			p.claim = pos
		}
		*p.data.word(off) = word
		bytes += uint64(size)
		n++
	}
	p.commit = pos
	p.seq += uint64(n)
	p.records += uint64(n)
	p.stats.Records += uint64(n)
	p.stats.Bytes += bytes
	p.open -= n
	p.runs.pop(r, uint32(n))
	return n
}

// Abort gives up all outstanding claims. What was committed stays committed.
func (p *Publisher) Abort() {
	p.runs.clear()
	p.open = 0
	p.claim = p.commit
	p.guard.drop()
}

// Flush makes everything committed visible, in one ordered store, and wakes
// subscribers that sleep. It makes no system call otherwise.
func (p *Publisher) Flush() error {
	p.publish()
	return p.state.err()
}

// publish moves the cursor (step P3), and only then the signposts, so that a
// subscriber never finds one that is not published.
func (p *Publisher) publish() {
	if p.records == 0 {
		return // padding alone can wait
	}
	storeRelease64(p.cursor, p.commit)
	storeRelease64(p.newest, p.first)
	if w := p.first >> p.shift; w != p.waypoint {
		p.waypoint = w
		storeRelease64(p.waypoints[w%waypointCount], p.first)
	}
	p.flushed, p.records = p.commit, 0
	p.stats.Flushes++
	for i := range p.sleepers {
		p.sleepers[i].wake.afterPublish()
	}
}

// Subscribe lets the publisher wake the subscriber behind a, which otherwise
// has to spin. It costs a look at one word per flush. The caller closes a, not
// before Unsubscribe.
func (p *Publisher) Subscribe(a *Alarm) {
	w := a.control.newWaker(offReaderSleep, offWriterFlags, a.bell)
	p.sleepers = append(p.sleepers, bed{a, w})
	// It may have gone to sleep before anybody could see that.
	p.sleepers[len(p.sleepers)-1].wake.slow()
}

// Unsubscribe undoes Subscribe.
func (p *Publisher) Unsubscribe(a *Alarm) {
	for i := range p.sleepers {
		if p.sleepers[i].alarm == a {
			p.stats.Wakes += p.sleepers[i].wake.wakes
			p.sleepers = append(p.sleepers[:i], p.sleepers[i+1:]...)
			return
		}
	}
}

// Stop makes every later Claim and Flush return ErrClosed. It may be called
// from any goroutine.
func (p *Publisher) Stop() { p.state.stop(stopClosed) }

// Stats returns the publisher's counters.
func (p *Publisher) Stats() Stats {
	s := p.stats
	for i := range p.sleepers {
		s.Wakes += p.sleepers[i].wake.wakes
	}
	return s
}
