package ring

import "sync/atomic"

// How a subscriber finds a record to begin at. It needs the position of one
// that is intact: the publisher leaves signposts (newest, waypoints), each
// written after the cursor that published it. The record there tells its
// number. All of it can be overtaken by the publisher while it is read, so
// each way ends in intactSince and is tried again if that says no.

// seekTries bounds the tries. The newest batch stays intact while the
// publisher writes almost half the ring, so even the second is rare.
const seekTries = 64

// retry runs try until it settles.
func (s *Subscriber) retry(try func() error) error {
	err := ErrLapped
	for range seekTries {
		if err = try(); err == nil {
			return nil
		}
	}
	if err != ErrLapped {
		s.state.stop(stopCorrupt)
	}
	return err
}

// toNewest goes to the cursor.
func (s *Subscriber) toNewest() error { return s.retry(s.tryNewest) }

func (s *Subscriber) tryNewest() error {
	if err := s.goToNewest(); err != nil || s.next == s.limit {
		return err
	}
	// The numbers of the newest batch lead up to the cursor.
	pos, seq := s.next, s.seq
	for pos != s.limit {
		w := atomic.LoadUint32(s.mem.word(pos & s.mask))
		span := uint64(w & spanMask)
		if span == 0 || span > s.limit-pos {
			return s.torn()
		}
		pos += span
		if w&stateMask == stateReady {
			seq++
		}
	}
	if !s.intactSince(s.next) {
		return ErrLapped
	}
	s.next, s.seq = pos, seq
	return nil
}

// goToNewest goes to the first record of the newest batch, or of the one
// before it.
func (s *Subscriber) goToNewest() error {
	at := atomic.LoadUint64(s.newest)
	c := atomic.LoadUint64(s.cursor)
	if c == 0 { // nothing was ever published
		s.next, s.limit, s.seq = 0, 0, 0
		return nil
	}
	return s.goTo(at, c)
}

// toOldest goes to the oldest record that a signpost leads to.
func (s *Subscriber) toOldest() error { return s.retry(s.tryOldest) }

func (s *Subscriber) tryOldest() error {
	i := atomic.LoadUint64(s.intent)
	if i <= s.size {
		s.next, s.limit, s.seq = 0, 0, 0 // the first record of all
		return nil
	}
	at := atomic.LoadUint64(s.newest)
	for _, w := range s.waypoints {
		if p := atomic.LoadUint64(w); p-(i-s.size) < at-(i-s.size) {
			at = p
		}
	}
	return s.goTo(at, atomic.LoadUint64(s.cursor))
}

// goTo goes to the record at a signpost, with everything published up to
// limit before it. Signposts are believed only as far as they lead to a record.
func (s *Subscriber) goTo(at, limit uint64) error {
	s.next, s.limit = at, limit
	if at&(line-1) != 0 || limit-at-1 >= s.size {
		return s.torn()
	}
	off := at & s.mask
	w := atomic.LoadUint32(s.mem.word(off))
	s.seq = *s.mem.u64(off + offSequence)
	if w&stateMask != stateReady {
		return s.torn()
	}
	if !s.intactSince(at) {
		return ErrLapped
	}
	return nil
}

// torn says why something that was read makes no sense.
func (s *Subscriber) torn() error {
	if !s.intactSince(s.next) {
		return ErrLapped
	}
	return ErrCorrupt
}

// lapped counts what was overwritten before it was read and goes on at the
// newest batch. It returns ErrLapped, or ErrCorrupt if positions and numbers
// contradict each other.
func (s *Subscriber) lapped() error {
	next, limit, seq := s.next, s.limit, s.seq
	if err := s.retry(s.goToNewest); err != nil {
		s.next, s.limit, s.seq = next, limit, seq
		return err // ErrLapped: the next call tries again, nothing is counted yet
	}
	if s.next < next || s.seq < seq {
		s.state.stop(stopCorrupt)
		return ErrCorrupt
	}
	s.lost += s.seq - seq
	return ErrLapped
}
