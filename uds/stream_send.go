package uds

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// streamSender is the outgoing half of the stream path. Its buffer, from left
// to right:
//
//	0        sent         ready        claims            next          len
//	┌────────┬────────────┬────────────┬─────────────────┬─────────────┐
//	│ gone   │ committed  │ gap        │ claimed         │ free        │
//	└────────┴────────────┴────────────┴─────────────────┴─────────────┘
//
// A claim is a frame's place: 20 bytes, in which its size is kept while it is
// outstanding, and then the payload that the caller writes. Committing one
// whose predecessor was shortened moves it down over the gap, so that what is
// committed is always one piece, and one send(2) takes it.
type streamSender struct {
	life *life
	max  int
	buf  []byte

	sent, ready, claims, next int

	outstanding int   // claims
	gone        error // the socket takes no more
	stats       link.Stats
}

const frameSize = wire.HeaderSize

// failed returns why the half no longer works, or nil.
func (s *streamSender) failed() error {
	if s.life.state.Load() != stateOpen {
		return link.ErrClosed
	}
	if c := s.life.cause.Load(); c != nil {
		return c.err
	}
	return s.gone
}

func (s *streamSender) claim(out []wire.Vesicle, size int) (int, error) {
	if uint(size) > uint(s.max) {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", link.ErrTooLarge, size, s.max)
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
// to the front if nobody holds a claim. It moves them only when the front half
// is free, so that every byte is moved at most once on its way.
func (s *streamSender) room(size int) bool {
	need := frameSize + size
	if len(s.buf)-s.next >= need {
		return true
	}
	if s.outstanding != 0 {
		return false
	}
	if s.sent != s.ready && s.sent < len(s.buf)/2 {
		return false
	}
	n := copy(s.buf, s.buf[s.sent:s.ready])
	s.sent, s.ready, s.claims, s.next = 0, n, n, n
	return len(s.buf)-s.next >= need
}

func (s *streamSender) commit(vs []wire.Vesicle) error {
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

func (s *streamSender) abort() {
	s.outstanding = 0
	s.claims, s.next = s.ready, s.ready
}

func (s *streamSender) flush() error {
	if err := s.failed(); err != nil {
		return err
	}
	if s.sent == s.ready {
		return nil
	}
	s.push()
	if err := s.failed(); err != nil {
		return err
	}
	if s.sent != s.ready {
		s.stats.Full++
		return link.ErrFull
	}
	s.stats.Flushes++
	return nil
}

// push sends what is committed, as far as the socket takes it.
func (s *streamSender) push() {
	s.life.mu.Lock()
	for s.sent < s.ready && !s.life.ended {
		n, e := send(s.life.fd, s.buf[s.sent:s.ready])
		if e == unix.EINTR {
			continue
		}
		if e == unix.EAGAIN || e == unix.ENOBUFS || e == unix.ENOMEM {
			break
		}
		if e != 0 {
			s.gone = fmt.Errorf("%w: the socket of process %d takes no more: %w", link.ErrPeerGone, s.life.pid, e)
			break
		}
		s.sent += n
	}
	s.life.midFrame = s.sent != s.ready // a guess to the safe side
	s.life.mu.Unlock()
	if s.sent == s.ready && s.outstanding == 0 {
		s.sent, s.ready, s.claims, s.next = 0, 0, 0, 0
	}
}
