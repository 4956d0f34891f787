package ring

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cell-runtime/cell/wire"
)

var (
	// ErrLapped: the publisher overwrote what was not read yet. The
	// subscriber goes on with the newest batch; Lost has grown by exactly the
	// records in between. Poll or Receive again.
	ErrLapped = errors.New("ring: lapped by the publisher")
	// ErrEmpty: nothing is published that was not received.
	ErrEmpty = errors.New("ring: nothing new")
)

// Start says where a subscriber begins.
type Start int

// The beginnings.
const (
	Newest Start = iota // with the first record published from now on
	Oldest              // with about the oldest record that is still there
)

// Subscriber is one of any number of reading sides of a broadcast ring. It
// writes nothing to the ring, so neither the publisher nor other subscribers
// notice it; in exchange the publisher may overwrite what it reads, which it
// notices (see Publisher). One goroutine uses it at a time; Stop may be called
// from any.
type Subscriber struct {
	mem   arena
	size  uint64
	mask  uint64
	next  uint64 // position of the next record to poll
	limit uint64 // the cursor as last read
	seq   uint64 // number of the next record

	starts [maxPolled]uint64 // positions of polled records, a FIFO
	head   uint32            // records released
	tail   uint32            // records polled
	lost   uint64
	state  stopState
	stats  Stats
	guard  viewGuard
	max    int

	cursor    *uint64 // the publisher's, shared
	newest    *uint64
	intent    *uint64
	waypoints [waypointCount]*uint64
	sleep     *sleeper // nil if this subscriber never sleeps
	_         [line]byte
}

// NewSubscriber makes a subscriber of m, which may be read-only. a is the alarm
// by which the publisher wakes it, nil if it never sleeps; an alarm serves one
// subscriber. Errors: ErrKind, ErrClosed, ErrCorrupt, ErrLapped (only if the
// publisher laps the ring faster than this function can look at it; try again).
func NewSubscriber(m *Memory, from Start, a *Alarm) (*Subscriber, error) {
	if m.kind != Broadcast {
		return nil, fmt.Errorf("%w: it is %v, wanted %v", ErrKind, m.kind, Broadcast)
	}
	if m.mapping == nil {
		return nil, ErrClosed
	}
	s := &Subscriber{
		mem: m.data, size: m.size, mask: m.size - 1, max: numberedMax(m.size),
		cursor: m.control.u64(offWriterCursor), newest: m.control.u64(offNewest),
		intent: m.control.u64(offIntent),
		guard:  m.newViewGuard(),
	}
	for i := range s.waypoints {
		s.waypoints[i] = m.control.u64(offWaypoints + uint64(i)*8)
	}
	if a != nil {
		sleep := a.control.newSleeper(offReaderSleep, offWriterFlags, a.bell)
		s.sleep = &sleep
	}
	begin := s.toNewest
	if from == Oldest {
		begin = s.toOldest
	}
	if err := begin(); err != nil {
		return nil, err
	}
	return s, nil
}

// MaxPayload returns the most payload bytes of one record.
func (s *Subscriber) MaxPayload() int { return s.max }

// Sequence returns the number of the next record that Poll or Receive will
// return, unless it is lapped before. After a Poll of n records, their numbers
// are Sequence()-n up to Sequence()-1.
func (s *Subscriber) Sequence() uint64 { return s.seq }

// Lost returns how many records this subscriber has missed since it began:
// overwritten before they were polled, or released when they were no longer
// intact.
func (s *Subscriber) Lost() uint64 { return s.lost }

// Poll fills in with the next records and returns how many; 0 with a nil error
// means none now. They were intact when Poll returned. Payloads lie in the
// ring, where the publisher may overwrite them at any time: use them, and then
// ask Valid or Release whether they were intact all the while; or use Receive.
// Poll goes on behind what is outstanding, of which there may be 1,024.
//
// Errors: ErrLapped, after which the next Poll goes on; ErrClosed, ErrCorrupt
// at once; ErrPeerGone when nothing is left to poll.
func (s *Subscriber) Poll(in []wire.Vesicle) (n int, err error) {
	if s.next == s.limit && !s.look() {
		return 0, s.state.err()
	}
	if s.state.failed() {
		return 0, s.state.err()
	}
	pos, seq, bytes := s.next, s.seq, uint64(0)
	in = in[:min(len(in), int(maxPolled-(s.tail-s.head)))]
	sound := true
	for n < len(in) && pos != s.limit {
		v := &in[n]
		span, ready, ok := s.read(pos, seq, &v.Header)
		if sound = ok; !ok {
			break
		}
		if ready {
			v.Payload = s.guard.view(s.mem, pos&s.mask+8, int(v.Header.Length))
			s.starts[(s.tail+uint32(n))%maxPolled] = pos
			bytes += uint64(v.Header.Length)
			seq++
			n++
		}
		pos += span
	}
	if !s.intactSince(s.next) {
		s.guard.undo(n)
		return 0, s.lapped()
	}
	if !sound {
		s.guard.undo(n)
		s.state.stop(stopCorrupt)
		return 0, s.state.err()
	}
	s.next, s.seq = pos, seq
	s.tail += uint32(n)
	s.stats.Records += uint64(n)
	s.stats.Bytes += bytes
	return n, nil
}

// look reads the cursor, when everything up to the last look is polled, and
// reports whether there is more. Acquire: records before it are visible.
func (s *Subscriber) look() bool {
	c := atomic.LoadUint64(s.cursor)
	if c == s.limit {
		return false
	}
	// Further away, the record at next is overwritten, or the cursor is a lie;
	// either will be found. Here it is only bounded.
	s.limit = s.next + min(c-s.next, s.size)
	return true
}

// read decodes the record at pos, which must have the number seq unless it is
// padding. Nothing that it returns may be believed before intactSince, and
// !ok means that this is no record: overwritten meanwhile, or never written by
// an honest publisher.
func (s *Subscriber) read(pos, seq uint64, h *wire.Header) (span uint64, ready, ok bool) {
	off := pos & s.mask
	w := atomic.LoadUint32(s.mem.word(off))
	span = uint64(w & spanMask)
	// Within the memory, and within what was published.
	if span-line > s.size-line-off || span > s.limit-pos {
		return 0, false, false
	}
	if w&stateMask == statePadding {
		return span, false, true
	}
	return span, true, w&stateMask == stateReady &&
		*s.mem.u64(off + offSequence) == seq && h.Load(s.mem.header(off), uint32(span)-numberedSize)
}

// intactSince reports whether nothing from pos on was overwritten before now
// (step S3). The fence keeps all earlier reads of records before the look.
func (s *Subscriber) intactSince(pos uint64) bool {
	loadFence()
	return atomic.LoadUint64(s.intent)-pos <= s.size
}

// Valid reports whether everything that is polled and not released is intact
// until now: whatever was read from it before the call is good.
func (s *Subscriber) Valid() bool {
	return s.head == s.tail || s.intactSince(s.starts[s.head%maxPolled])
}

// Release lets go of the oldest n polled records and reports whether they were
// intact until now. If not, whatever was read from them is worthless, and they
// count as lost. Error: ErrOrder, after which nothing was released.
func (s *Subscriber) Release(n int) (intact bool, err error) {
	if uint(n) > uint(s.tail-s.head) {
		return false, ErrOrder
	}
	if n == 0 {
		return true, nil
	}
	if intact = s.Valid(); !intact {
		s.lost += uint64(n)
	}
	s.head += uint32(n)
	s.guard.release(n)
	s.stats.Flushes++
	return intact, nil
}

// Receive copies the next record's payload into buf and returns the vesicle,
// which is always intact and needs no Release. Errors: ErrEmpty; ErrTooLarge
// if buf is shorter than the payload (Header.Length says how long it is, and
// the record stays the next); those of Poll.
func (s *Subscriber) Receive(buf []byte) (wire.Vesicle, error) {
	var v wire.Vesicle
	for {
		if s.next == s.limit && !s.look() {
			if err := s.state.err(); err != nil {
				return wire.Vesicle{}, err
			}
			return wire.Vesicle{}, ErrEmpty
		}
		if s.state.failed() {
			return wire.Vesicle{}, s.state.err()
		}
		span, ready, ok := s.read(s.next, s.seq, &v.Header)
		n := int(v.Header.Length)
		if ok && ready && n <= len(buf) {
			v.Payload = buf[:n]
			copy(v.Payload, s.mem.payload(s.next&s.mask+8, n))
		}
		switch {
		case !s.intactSince(s.next):
			return wire.Vesicle{}, s.lapped()
		case !ok:
			s.state.stop(stopCorrupt)
			return wire.Vesicle{}, s.state.err()
		case ready && n > len(buf):
			return wire.Vesicle{Header: v.Header}, fmt.Errorf("%w of the buffer: %d bytes in %d", ErrTooLarge, n, len(buf))
		}
		s.next += span
		if ready {
			s.seq++
			s.stats.Records++
			s.stats.Bytes += uint64(n)
			return v, nil
		}
	}
}

// Arm announces that the subscriber wants to sleep until something is
// published, and returns false if there is no reason to sleep. Wait on the
// alarm's doorbell, and on a sign of life of the publisher.
func (s *Subscriber) Arm() bool {
	if s.sleep == nil || s.sleep.own == nil || s.ready() || !s.sleep.arm() {
		return false
	}
	if s.ready() {
		s.sleep.withdraw()
		return false
	}
	return true
}

// ready is also true if the subscriber has failed: then Poll tells.
func (s *Subscriber) ready() bool {
	return s.next != s.limit || atomic.LoadUint64(s.cursor) != s.limit || s.state.err() != nil
}

// Disarm ends what Arm began.
func (s *Subscriber) Disarm() {
	if s.sleep != nil {
		s.sleep.disarm(&s.state)
	}
}

// Stop makes every later Poll and Receive return ErrClosed at once or, if
// peerGone is set, ErrPeerGone as soon as everything published was read, and
// wakes the subscriber if it sleeps on its doorbell. It may be called from any
// goroutine; the first reason stays.
func (s *Subscriber) Stop(peerGone bool) {
	s.state.stop(reasonOf(peerGone))
	if s.sleep != nil {
		_ = s.sleep.own.Ring()
	}
}

// Stats returns the subscriber's counters; Flushes are Releases, Full is
// always 0.
func (s *Subscriber) Stats() Stats { return s.stats }
