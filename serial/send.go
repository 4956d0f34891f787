package serial

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// sender is the outgoing half without a window. A claim is a place in arena:
// room for the line's header, the payload that the caller writes, room for the
// checksum. Committing encodes it to out, from which it is written:
//
//	0        …            flushed      ready                len
//	┌────────┬────────────┬────────────┬────────────────────┐
//	│ gone   │ line.data  │ committed  │ free, in part      │
//	│        │            │            │ reserved by claims │
//	└────────┴────────────┴────────────┴────────────────────┘
type sender struct {
	line  *line
	sleep *sleeper
	max   int

	arena       arena
	outstanding int

	out            []byte
	flushed, ready int
	reserved       int  // bytes of out for outstanding claims
	blocked        bool // the last push left something

	count link.Stats
}

// arena is the memory of claims. It starts anew whenever none is outstanding.
type arena struct {
	buf    []byte
	oldest int // place of the oldest claim
	next   int
}

const placeExtra = maxHeader + crc32Size

// take returns a place for size bytes of payload, or nil.
func (a *arena) take(size int) []byte {
	end := a.next + placeExtra + size
	if end > len(a.buf) {
		return nil
	}
	// The size is kept where the header will stand.
	binary.LittleEndian.PutUint32(a.buf[a.next:], uint32(size))
	at := a.next + maxHeader
	a.next = end
	return a.buf[at : at+size : at+size]
}

// give returns the oldest place, whose payload is v's.
func (a *arena) give(v *wire.Vesicle) (place []byte, size int, err error) {
	size = int(binary.LittleEndian.Uint32(a.buf[a.oldest:]))
	end := a.oldest + placeExtra + size
	place = a.buf[a.oldest:end]
	n := len(v.Payload)
	if n > size || n > 0 && &v.Payload[0] != &place[maxHeader] {
		return nil, 0, link.ErrOrder
	}
	a.oldest = end
	return place, size, nil
}

func (a *arena) reset() { a.oldest, a.next = 0, 0 }

func newSender(l *line, max, buffer int, sleep *sleeper) *sender {
	return &sender{
		line: l, sleep: sleep, max: max, arena: arena{buf: make([]byte, buffer)},
		out: make([]byte, buffer+cobsSlack),
	}
}

func (s *sender) failed() error {
	if err := s.line.failed(); err != nil {
		return err
	}
	if s.blocked {
		s.line.mu.Lock()
		defer s.line.mu.Unlock()
		return s.line.gone
	}
	return nil
}

func (s *sender) claim(out []wire.Vesicle, size int) (n int, err error) {
	if uint(size) > uint(s.max) {
		return 0, tooLarge(size, s.max)
	}
	if err := s.failed(); err != nil {
		return 0, err
	}
	if len(out) > 0 && !s.room(size) {
		s.push() // committed bytes may be all that is in the way
		if err := s.failed(); err != nil {
			return 0, err
		}
	}
	for n < len(out) && s.room(size) {
		place := s.arena.take(size)
		if place == nil {
			break
		}
		out[n].Payload = place
		s.reserved += FrameBound(size)
		s.outstanding++
		n++
	}
	if n == 0 && len(out) > 0 {
		s.count.Full++
		return 0, link.ErrFull
	}
	return n, nil
}

func tooLarge(size, max int) error {
	return fmt.Errorf("%w: %d bytes, at most %d", link.ErrTooLarge, size, max)
}

// room says whether a claim of size bytes fits, after moving what is not yet
// written to the front, if that half is free.
func (s *sender) room(size int) bool {
	if len(s.arena.buf)-s.arena.next < placeExtra+size {
		return false
	}
	need := s.reserved + FrameBound(size)
	limit := len(s.out) - cobsSlack
	if limit-s.ready >= need {
		return true
	}
	s.line.mu.Lock()
	defer s.line.mu.Unlock()
	sent := s.flushed - len(s.line.data)
	if sent != s.ready && sent < limit/2 {
		return false
	}
	n := copy(s.out, s.out[sent:s.ready])
	s.line.data = s.out[:len(s.line.data)]
	s.flushed, s.ready = len(s.line.data), n
	return limit-s.ready >= need
}

func (s *sender) commit(vs []wire.Vesicle) error {
	if len(vs) > s.outstanding {
		return link.ErrOrder
	}
	for i := range vs {
		v := &vs[i]
		place, size, err := s.arena.give(v)
		if err != nil {
			return fmt.Errorf("%w: vesicle %d has a payload that is not the claimed place", err, i)
		}
		n := len(v.Payload)
		v.Header.Length = uint32(n)
		s.ready += encodeVesicle(s.out[s.ready:], place, &v.Header, n, -1)
		s.reserved -= FrameBound(size)
		s.outstanding--
		s.count.Bytes += uint64(n)
		s.count.Vesicles++
	}
	if s.outstanding == 0 {
		s.arena.reset()
	}
	return nil
}

func (s *sender) abort() {
	s.outstanding, s.reserved = 0, 0
	s.arena.reset()
}

func (s *sender) flush() error {
	if err := s.failed(); err != nil {
		return err
	}
	if s.flushed == s.ready && !s.blocked {
		return nil
	}
	s.push()
	if err := s.failed(); err != nil {
		return err
	}
	if s.blocked {
		s.count.Full++
		return link.ErrFull
	}
	s.count.Flushes++
	return nil
}

// push writes what is committed, as far as the line takes it.
func (s *sender) push() {
	l := s.line
	l.mu.Lock()
	l.data = s.out[s.flushed-len(l.data) : s.ready]
	l.push()
	if len(l.data) == 0 {
		s.flushed, s.ready = 0, 0
	} else {
		s.flushed = s.ready
	}
	s.blocked = len(l.data) > 0
	l.mu.Unlock()
}

// waits says whether there is a reason to sleep: no room for a vesicle of size
// bytes, or a Flush that could not finish, which also waits for the line.
func (s *sender) waits(size int) bool {
	if s.failed() != nil || !s.blocked && s.room(size) {
		return false
	}
	s.push()
	return s.failed() == nil && (s.blocked || !s.room(size))
}

func (s *sender) stats() link.Stats { return s.count }

func (s *sender) armSpace(size int) bool {
	if !s.waits(size) {
		return false
	}
	s.sleep.arm(halfOut, unix.EPOLLOUT, time.Time{})
	return true
}

func (s *sender) disarmSpace() { s.sleep.disarm(halfOut) }
