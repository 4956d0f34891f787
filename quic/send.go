package quic

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// sender is the outgoing half of a link. Its buffer, from left to right:
//
//	0        sent         ready        claims            next          len
//	┌────────┬────────────┬────────────┬─────────────────┬─────────────┐
//	│ gone   │ committed  │ gap        │ claimed         │ free        │
//	└────────┴────────────┴────────────┴─────────────────┴─────────────┘
//
// A claim is a frame's place: 20 bytes, in which its size is kept while it is
// outstanding, and the payload that the caller writes. Committing one whose
// predecessor was shortened moves it down over the gap. Flush hands committed
// frames to their lanes; those of a lane without room stay, others pass them,
// and what has passed is marked by a kind that no vesicle has.
type sender struct {
	link *Link
	max  int
	buf  []byte

	sent, ready, claims, next int

	outstanding int   // claims
	spent       int64 // of the peer's credit
	granted     atomic.Int64
	stats       link.Stats
}

const frameSize = wire.HeaderSize

func (s *sender) claim(out []wire.Vesicle, size int) (int, error) {
	if uint(size) > uint(s.max) {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", link.ErrTooLarge, size, s.max)
	}
	if err := s.link.sendFailed(); err != nil {
		return 0, err
	}
	if len(out) > 0 && !s.room(size) {
		s.push() // committed frames may be all that is in the way
		if err := s.link.sendFailed(); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(out) && s.room(size) {
		at := s.next + frameSize
		binary.LittleEndian.PutUint32(s.buf[s.next:], uint32(size))
		out[n].Payload = s.buf[at : at+size : at+size]
		s.next = at + size
		s.outstanding++
		n++
	}
	if n == 0 && len(out) > 0 {
		s.stats.Full++
		return 0, link.ErrFull
	}
	return n, nil
}

// room says whether a claim of size bytes fits, after moving committed bytes
// to the front if nobody holds a claim.
func (s *sender) room(size int) bool {
	need := frameSize + size
	if len(s.buf)-s.next >= need {
		return true
	}
	if s.outstanding != 0 || s.sent != s.ready && s.sent < len(s.buf)/2 {
		return false
	}
	n := copy(s.buf, s.buf[s.sent:s.ready])
	s.sent, s.ready, s.claims, s.next = 0, n, n, n
	return len(s.buf)-s.next >= need
}

func (s *sender) commit(vs []wire.Vesicle) error {
	if len(vs) > s.outstanding {
		return link.ErrOrder
	}
	for i := range vs {
		v := &vs[i]
		size := int(binary.LittleEndian.Uint32(s.buf[s.claims:]))
		at := s.claims + frameSize
		n := len(v.Payload)
		if n > size || n > 0 && &v.Payload[0] != &s.buf[at] {
			return fmt.Errorf("%w: vesicle %d has a payload that is not the claimed place", link.ErrOrder, i)
		}
		v.Header.Length = uint32(n)
		v.Header.Put((*[wire.HeaderSize]byte)(s.buf[s.ready:]))
		if to := s.ready + frameSize; to != at {
			copy(s.buf[to:], v.Payload)
		}
		s.ready += frameSize + n
		s.claims = at + size
		s.outstanding--
		s.stats.Bytes += uint64(n)
		s.stats.Vesicles++
	}
	if s.outstanding == 0 {
		s.claims, s.next = s.ready, s.ready
	}
	return nil
}

func (s *sender) abort() {
	s.outstanding = 0
	s.claims, s.next = s.ready, s.ready
}

func (s *sender) flush() error {
	if err := s.link.sendFailed(); err != nil {
		return err
	}
	if s.sent == s.ready {
		return nil
	}
	s.push()
	if err := s.link.sendFailed(); err != nil {
		return err
	}
	if s.sent != s.ready {
		s.stats.Full++
		return link.ErrFull
	}
	s.stats.Flushes++
	return nil
}

// passed marks, in the place of version and kind, a frame that has gone to its
// lane.
const (
	passed       = 0
	offKind      = 16
	unknownFrame = -1
)

// push hands committed frames to their lanes, neighbours of one lane together.
func (s *sender) push() {
	blocked := uint64(0) // lanes without room: their later frames must wait, too
	for at := s.sent; at < s.ready; {
		index, end, cost := s.run(at)
		switch {
		case index == unknownFrame || blocked&(1<<index) != 0:
		case s.spent+cost > s.granted.Load():
			blocked = ^uint64(0) // for all of them
		case s.link.give(index, s.buf[at:end]):
			s.spent += cost
			s.mark(at, end)
		default:
			blocked |= 1 << index
		}
		at = end
	}
	for s.sent < s.ready && s.buf[s.sent+offKind] == passed {
		s.sent += s.span(s.sent)
	}
	if s.sent == s.ready && s.outstanding == 0 {
		s.sent, s.ready, s.claims, s.next = 0, 0, 0, 0
	}
}

// run returns the lane of the frame at, the end of the frames behind it that
// have the same one, and what they cost; unknownFrame and the frame's end if it
// has passed.
func (s *sender) run(at int) (index, end int, cost int64) {
	if end = at + s.span(at); s.buf[at+offKind] == passed {
		return unknownFrame, end, 0
	}
	index, cost = s.laneAt(at), s.costAt(at)
	for end < s.ready && end-at+s.span(end) <= runMost && s.buf[end+offKind] != passed && s.laneAt(end) == index {
		cost += s.costAt(end)
		end += s.span(end)
	}
	return index, end, cost
}

// runMost is how many bytes of frames go to a lane at once, if it is several.
const runMost = 4 << 10

// costAt returns what the frame at costs of the peer's credit. Events in
// datagrams need none: those that find no room are lost.
func (s *sender) costAt(at int) int64 {
	if s.laneAt(at) == laneDatagram {
		return 0
	}
	return costOf(s.span(at) - frameSize)
}

func (s *sender) span(at int) int {
	return frameSize + int(binary.LittleEndian.Uint32(s.buf[at:]))
}

func (s *sender) laneAt(at int) int {
	var h wire.Header
	h.Unpack((*[wire.HeaderSize]byte)(s.buf[at:]))
	return s.link.laneOf(&h)
}

func (s *sender) mark(at, end int) {
	for at < end {
		s.buf[at+offKind] = passed
		at += s.span(at)
	}
}
