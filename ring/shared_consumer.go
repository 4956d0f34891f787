package ring

import (
	"fmt"
	"sync/atomic"

	"github.com/cell-runtime/cell/wire"
)

// SharedConsumer is the reading side of an MPSC ring. One goroutine uses it at
// a time; Stop may be called from any.
//
// A producer that dies between Claim and Commit leaves a claim at which the
// consumer stops; see Recover.
type SharedConsumer struct {
	mem      arena
	size     uint64
	mask     uint64
	next     uint64  // position of the next record to poll
	word     *uint32 // its commit word
	guess    uint32  // the last commit word seen
	released uint64  // position up to which memory was given back
	bound    uint64  // released + size - line: honest producers stop here

	ends    [maxPolled]uint64 // end positions of polled records, a FIFO
	endHead uint32            // records released
	endTail uint32            // records polled
	state   stopState
	cursor  *uint64 // ours, shared
	data    sleeper
	space   waker // for producers that wait for room; by futex, without a doorbell
	stats   Stats
	guard   viewGuard
	max     int

	tail   *uint64 // the producers', shared
	slots  [slotCount]slot
	buried [slotCount]grave
	_      [line]byte
}

// NewSharedConsumer takes the reading side of m. own is the doorbell that
// producers ring when something was committed; nil if the consumer never
// sleeps. Errors: ErrKind, ErrInUse, ErrClosed.
func NewSharedConsumer(m *Memory, own *Doorbell) (*SharedConsumer, error) {
	if m.kind != MPSC {
		return nil, fmt.Errorf("%w: it is %v, wanted %v", ErrKind, m.kind, MPSC)
	}
	if err := m.takeRole(offReaderPID, "consumer"); err != nil {
		return nil, err
	}
	c := &SharedConsumer{
		mem: m.data, word: m.data.word(0), size: m.size, mask: m.size - 1, bound: m.size - line,
		guess:  line | stateReady, // anything but stateEmpty, which poll must see
		cursor: m.control.u64(offReaderCursor), tail: m.control.u64(offWriterCursor),
		data:  m.newSleeper(offReaderSleep, offWriterFlags, own),
		space: m.newWaker(offWriterSleep, offReaderFlags, nil),
		guard: m.newViewGuard(),
		max:   maxPayload(m.size),
	}
	// Producers that can't have a barrier see to it themselves; see shared_wait.go.
	atomic.AndUint32(c.space.word, ^uint32(sleepNeedsFence))
	for i := range c.slots {
		c.slots[i] = m.slot(uint32(i))
	}
	return c, nil
}

// MaxPayload returns the most payload bytes of one record.
func (c *SharedConsumer) MaxPayload() int { return c.max }

// Poll fills in with the next records, in the order of claiming, and returns
// how many; 0 with a nil error means none now, perhaps because a producer is
// still writing the next one. Headers are validated, payloads lie in the ring
// and may be read until their Release. It goes on behind what is outstanding,
// of which there may be 1,024. Errors: ErrClosed, ErrCorrupt at once;
// ErrPeerGone when nothing is left to poll.
func (c *SharedConsumer) Poll(in []wire.Vesicle) (n int, err error) {
	if atomic.LoadUint32(c.word)|atomic.LoadUint32(&c.state.reason) != 0 {
		n, err = c.poll(in)
	}
	return
}

func (c *SharedConsumer) poll(in []wire.Vesicle) (n int, err error) {
	if c.state.failed() {
		return 0, c.state.err()
	}
	pos, bytes := c.next, uint64(0)
	in = in[:min(len(in), int(maxPolled-(c.endTail-c.endHead)))]
	mem, mask, bound, end := c.mem, c.mask, c.bound, c.endTail // kept in registers
	// As in Consumer: guess that the spans are equal, so that the misses of
	// several records overlap.
	guess := c.guess
	span := uint64(guess & spanMask)
	for n < len(in) {
		off := pos & mask
		// Acquire: everything that the producer wrote into this run before it
		// released the first commit word is visible from here on.
		if w := atomic.LoadUint32(mem.word(off)); w != guess {
			if w == stateEmpty || isClaimed(w) {
				break
			}
			guess, span = w, uint64(w&spanMask)
		}
		// Bounded as in fits.
		if span-line > mask&^(line-1)-off || pos+span > bound {
			c.state.stop(stopCorrupt)
			break
		}
		if guess&stateMask != stateReady {
			if guess&stateMask != statePadding {
				c.state.stop(stopCorrupt)
				break
			}
			pos += span
			continue
		}
		v := &in[n]
		size, tail := v.Header.Unpack(mem.header(off))
		if !tail.Valid(size, uint32(roomOf(span))) {
			c.state.stop(stopCorrupt)
			break
		}
		v.Payload = c.guard.view(mem, off+shiftOf(span), int(size))
		pos += span
		c.ends[end%maxPolled] = pos
		end++
		bytes += uint64(size)
		n++
	}
	c.guess = guess
	c.goTo(pos)
	c.endTail = end
	c.stats.Records += uint64(n)
	c.stats.Bytes += bytes
	if n == 0 {
		c.givePadding()
		return 0, c.state.err()
	}
	return n, nil
}

// failed reports whether nothing may be polled any more; what a lost peer
// committed may.
func (s *stopState) failed() bool {
	r := atomic.LoadUint32(&s.reason)
	return r != 0 && r != stopPeer
}

func (c *SharedConsumer) goTo(pos uint64) {
	c.next = pos
	c.word = c.mem.word(pos & c.mask)
}

// fits bounds a span that came from the memory: whole lines, not beyond the
// end, and within what honest producers can have claimed.
func (c *SharedConsumer) fits(pos, span uint64) bool {
	return span-line <= c.size-line-pos&c.mask && pos+span <= c.bound
}

// Release gives the oldest n polled records back to the producers. Error:
// ErrOrder, after which nothing was released.
func (c *SharedConsumer) Release(n int) error {
	if uint(n) > uint(c.endTail-c.endHead) {
		return ErrOrder
	}
	if n == 0 {
		return nil
	}
	c.endHead += uint32(n)
	to := c.ends[(c.endHead-1)%maxPolled]
	if c.endHead == c.endTail {
		to = c.next // and padding behind the last
	}
	c.guard.release(n)
	c.give(to)
	return nil
}

// givePadding gives back what was passed over, if no record is outstanding.
func (c *SharedConsumer) givePadding() {
	if c.next != c.released && c.endHead == c.endTail {
		c.give(c.next)
	}
}

// give publishes the cursor, after it has restored invariant Z: the first word
// of every line is zero again. The release store orders that, and our reads of
// the records, before whatever a producer writes there.
func (c *SharedConsumer) give(to uint64) {
	mangle(c.mem, c.mask, c.released, to)
	for pos := c.released; pos < to; pos += line {
		*c.mem.word(pos & c.mask) = stateEmpty
	}
	c.released = to
	c.bound = to + c.size - line
	storeRelease64(c.cursor, to)
	c.stats.Flushes++
	c.wakeProducers()
}

// Arm announces that the consumer wants to sleep until something is committed
// and flushed, and returns false if there is no reason to sleep. A producer's
// death wakes nobody: wait on its sign of life (a socket, a pidfd) too, or
// with a limit, and call Recover.
func (c *SharedConsumer) Arm() bool {
	if c.data.own == nil || c.ready() || !c.data.arm() {
		return false
	}
	if c.ready() {
		c.data.withdraw()
		return false
	}
	return true
}

// ready is also true if the ring has failed: then Poll tells.
func (c *SharedConsumer) ready() bool {
	w := atomic.LoadUint32(c.word)
	return w != stateEmpty && !isClaimed(w) || atomic.LoadUint32(&c.state.reason) != 0
}

// Disarm ends what Arm began.
func (c *SharedConsumer) Disarm() { c.data.disarm(&c.state) }

// Stop makes every later Poll return ErrClosed at once or, if peerGone is set,
// ErrPeerGone as soon as everything committed was polled, and wakes the
// consumer if it sleeps on its doorbell. It may be called from any goroutine;
// the first reason stays.
func (c *SharedConsumer) Stop(peerGone bool) {
	c.state.stop(reasonOf(peerGone))
	_ = c.data.own.Ring()
}

// Stats returns the consumer's counters.
func (c *SharedConsumer) Stats() Stats {
	s := c.stats
	s.Wakes = c.space.wakes
	return s
}
