package ring

import "sync/atomic"

// How the consumer gets past the claims of a producer that died. X is the
// position at which it is stuck, W the writer's cursor.
//
//	word at X           what it means                          what follows
//	ready, padding      not stuck
//	zero, W = X         nobody claimed it                      nothing
//	claimed(slot, n)    the slot's owner holds n bytes         owner dead: pass over n
//	zero, W > X         claimed, not marked yet: an announced  all who announced X are
//	                    intent covers X                        dead: pass over the lines
//	                                                           that are zero, up to the
//	                                                           next intent or W
//
// The last row is the delicate one. Several producers may have announced X of
// whom one took it. But whoever took it announced it before, and announces
// nothing else before its mark is in place; so if the word is still zero after
// all slots were read, the taker is among those who cover X. If one of them
// lives, it may be the taker: wait. It is about to mark X or to announce
// something else.
//
// "Dead" must be known before the word is read for the last time: the owner
// may have committed before it died.

// grave says that a dead owner's claims, if any, end at until.
type grave struct {
	owner uint64
	until uint64
}

// Recover gets the consumer past claims whose producers have died, and frees
// the slots of dead producers as soon as nothing of theirs can be left. It
// returns how many claimed runs it passed over; what a producer committed
// before it died is still polled, what it had claimed is lost. A live producer
// is never passed over, however slow it is. If Poll gets stuck again, behind
// what was committed in between, call it again.
//
// dead says whether a process has certainly ended. nil means to ask the
// kernel (pidfd_open, and the start time, because pids are used again), which
// needs producers and consumer to share one pid namespace and one time
// namespace. Recover makes system calls for each producer: call it when a sign
// of life was lost or after some milliseconds without progress, not in every
// cycle. A process that runs another program (execve) still counts as alive.
func (c *SharedConsumer) Recover(dead func(pid uint32) bool) (skipped int) {
	r := rescue{c: c, dead: processGone}
	if dead != nil {
		r.dead = func(id uint64) bool { return dead(pidOf(id)) }
	}
	for !c.state.failed() && r.pass() {
		skipped++
	}
	if !c.state.failed() {
		c.givePadding()
		r.bury()
	}
	return skipped
}

// Stuck reports whether the next record is claimed and not yet committed: by a
// producer that writes it now, or by one that died (see Recover).
func (c *SharedConsumer) Stuck() bool {
	w := atomic.LoadUint32(c.word)
	return isClaimed(w) || w == stateEmpty && atomic.LoadUint64(c.tail) != c.next
}

// rescue is one call of Recover.
type rescue struct {
	c      *SharedConsumer
	dead   func(id uint64) bool
	asked  [slotCount]uint64 // identities that dead was asked about
	answer [slotCount]bool
}

// isDead asks once per slot and owner. A yes is final, a no may be late, which
// only delays.
func (r *rescue) isDead(i uint32, id uint64) bool {
	if id == 0 {
		return false
	}
	if r.asked[i] != id {
		r.asked[i], r.answer[i] = id, r.dead(id)
	}
	return r.answer[i]
}

// pass gets past one claim of a dead owner, if that is what c is stuck at.
func (r *rescue) pass() bool {
	c := r.c
	w := atomic.LoadUint32(c.word)
	switch {
	case isClaimed(w):
		i, length := parseClaimed(w)
		owner := atomic.LoadUint64(c.slots[i].owner)
		if !c.fits(c.next, length) || owner == 0 {
			c.state.stop(stopCorrupt)
			return false
		}
		if !r.isDead(i, owner) || atomic.LoadUint32(c.word) != w {
			return false
		}
		c.goTo(c.next + length)
		return true
	case w == stateEmpty:
		return r.passUnmarked()
	}
	return false
}

// passUnmarked gets past lines that were claimed and never marked.
func (r *rescue) passUnmarked() bool {
	c := r.c
	// Acquire: whoever moved the cursor past X announced X before.
	tail := atomic.LoadUint64(c.tail)
	if tail-c.next > c.bound-c.next || tail&(line-1) != 0 {
		c.state.stop(stopCorrupt)
		return false
	}
	if tail == c.next {
		return false
	}
	covered, alive, end := false, false, tail
	for i := range uint32(slotCount) {
		owner := atomic.LoadUint64(c.slots[i].owner)
		position, length := c.slots[i].intent()
		switch {
		case owner == 0 || length == 0:
		case c.next-position < length:
			covered = true
			alive = alive || !r.isDead(i, owner)
		case position-c.next < end-c.next:
			end = position &^ (line - 1)
		}
	}
	if atomic.LoadUint32(c.word) != stateEmpty {
		return false // marked or committed meanwhile
	}
	if !covered {
		c.state.stop(stopCorrupt) // no honest producer takes what it has not announced
	}
	if !covered || alive {
		return false
	}
	pos := c.next + line
	for pos < end && atomic.LoadUint32(c.mem.word(pos&c.mask)) == stateEmpty {
		pos += line
	}
	c.goTo(pos)
	return true
}

// bury frees the slots of dead producers. What they claimed lies before the
// cursor as it is once they are known to be dead; when the consumer has passed
// that, nobody needs to find them any more.
func (r *rescue) bury() {
	c := r.c
	for i := range uint32(slotCount) {
		s, g := &c.slots[i], &c.buried[i]
		owner := atomic.LoadUint64(s.owner)
		if owner == 0 || g.owner != owner && !r.isDead(i, owner) {
			*g = grave{}
			continue
		}
		if g.owner != owner {
			*g = grave{owner, atomic.LoadUint64(c.tail)}
		}
		if c.next >= g.until {
			s.withdraw()
			atomic.CompareAndSwapUint64(s.owner, owner, 0)
			*g = grave{}
		}
	}
}
