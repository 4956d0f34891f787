package ring

import (
	"sync/atomic"

	"github.com/cell-runtime/cell/wire"
)

// Consumer is the reading side of an SPSC ring. One goroutine uses it at a
// time; Stop may be called from any.
type Consumer struct {
	mem      arena
	size     uint64
	mask     uint64
	next     uint64  // position of the next record to poll
	word     *uint32 // its commit word
	guess    uint32  // the last commit word seen
	released uint64  // position up to which memory was given back
	bound    uint64  // released + size - line: an honest producer stops here

	polled polled
	state  stopState
	cursor *uint64 // ours, shared
	wake   waker   // for a producer that waits for room
	data   sleeper
	stats  Stats
	guard  viewGuard
	max    int
	_      [line]byte
}

// NewConsumer takes the reading side of m. own is the doorbell that the peer
// rings when something was published, peer the one that wakes a producer which
// waits for room; either may be nil if that side never sleeps. Errors:
// ErrKind, ErrInUse.
func NewConsumer(m *Memory, own, peer *Doorbell) (*Consumer, error) {
	if m.kind != SPSC {
		return nil, ErrKind
	}
	if err := m.takeRole(offReaderPID, "consumer"); err != nil {
		return nil, err
	}
	return &Consumer{
		mem: m.data, word: m.data.word(0), size: m.size, mask: m.size - 1, bound: m.size - line,
		guess:  line | stateReady, // anything but stateEmpty, which Poll must see
		cursor: m.control.u64(offReaderCursor),
		data:   m.newSleeper(offReaderSleep, offWriterFlags, own),
		wake:   m.newWaker(offWriterSleep, offReaderFlags, peer),
		guard:  m.newViewGuard(),
		max:    maxPayload(m.size),
	}, nil
}

// MaxPayload returns the most payload bytes of one record.
func (c *Consumer) MaxPayload() int { return c.max }

// Poll fills in with the next records and returns how many; 0 with a nil error
// means none now. Headers are validated, payloads lie in the ring and may be
// read until their Release. It goes on behind what is outstanding, of which
// there may be 1,024. Errors: ErrClosed, ErrCorrupt at once; ErrPeerGone when
// nothing is left to poll.
func (c *Consumer) Poll(in []wire.Vesicle) (n int, err error) {
	// So terse that it inlines: an empty ring costs a spinning caller no call.
	if atomic.LoadUint32(c.word)|atomic.LoadUint32(&c.state.reason) != 0 {
		n, err = c.poll(in)
	}
	return
}

func (c *Consumer) poll(in []wire.Vesicle) (n int, err error) {
	if c.pollLine(in) {
		return 1, nil
	}
	if atomic.LoadUint32(&c.state.reason) != 0 {
		if err := c.why(); err != nil {
			return 0, err
		}
	}
	in = in[:min(len(in), c.polled.room())]
	if !mirrored && c.guess == lineReady {
		more := true
		for more && n < len(in) {
			var got int
			got, more = c.pollLines(in[n:])
			n += got
		}
		if n == len(in) || n > 0 && atomic.LoadUint32(c.word) == stateEmpty {
			return n, nil
		}
	}
	got, err := c.pollAny(in[n:])
	if n += got; n > 0 {
		err = nil // the next Poll says it again
	}
	return n, err
}

// pollLine polls what most calls for one record find: a record of one line,
// and nothing else outstanding. Anything else it leaves alone.
func (c *Consumer) pollLine(in []wire.Vesicle) bool {
	if mirrored || len(in) != 1 || c.polled.open != 0 || c.next >= c.bound || atomic.LoadUint32(&c.state.reason) != 0 {
		return false
	}
	off := c.next & c.mask
	if atomic.LoadUint32(c.mem.word(off)) != lineReady {
		return false
	}
	n, bytes := c.mem.readLines(off, in)
	if n == 0 {
		return false
	}
	c.polled.pushOnly(c.next, line)
	c.next += line
	c.word = c.mem.word(c.next & c.mask)
	c.guess = lineReady
	c.stats.Records++
	c.stats.Bytes += bytes
	return true
}

// pollLines polls records of one line each, until something else comes. more
// is true if it stopped because the memory ends in between.
func (c *Consumer) pollLines(in []wire.Vesicle) (n int, more bool) {
	off := c.next & c.mask
	most := int(min(uint64(len(in)), min(c.bound-c.next, c.size-off)/line))
	ready := c.mem.readyLines(off, most)
	n, bytes := c.mem.readLines(off, in[:ready])
	if n == 0 {
		return 0, false
	}
	c.polled.push(c.next, line, uint32(n))
	c.next += uint64(n) * line
	c.word = c.mem.word(c.next & c.mask)
	c.stats.Records += uint64(n)
	c.stats.Bytes += bytes
	return n, n == most
}

// pollAny polls records of any span.
func (c *Consumer) pollAny(in []wire.Vesicle) (n int, err error) {
	pos, bytes := c.next, uint64(0)
	mem, mask, bound := c.mem, c.mask, c.bound // kept in registers
	// The next record's place depends on this one's span, a load that misses
	// the cache. Guessing that it is the last one's turns that dependence into
	// a predicted branch, so that the misses of several records overlap.
	guess := c.guess
	span := uint64(guess & spanMask)
	for n < len(in) {
		off := pos & mask
		// Acquire: everything that the producer wrote into this batch before
		// it released the first commit word is visible from here on.
		if w := atomic.LoadUint32(mem.word(off)); w != guess {
			if w == stateEmpty {
				break
			}
			guess, span = w, uint64(w&spanMask)
		}
		// What came from the peer is bounded: whole lines, within the memory,
		// and within what an honest producer can have published, so that
		// padding without end ends too.
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
		c.polled.push(pos, uint32(span), 1)
		pos += span
		bytes += uint64(size)
		n++
	}
	c.guess = guess
	c.next = pos
	c.word = c.mem.word(pos & c.mask)
	c.stats.Records += uint64(n)
	c.stats.Bytes += bytes
	if n == 0 {
		if pos != c.released && c.polled.open == 0 {
			c.give(pos) // padding alone
		}
		return 0, c.state.err()
	}
	return n, nil
}

// why tells whether Poll must stop at once.
func (c *Consumer) why() error {
	if atomic.LoadUint32(&c.state.reason) == stopPeer {
		return nil // what it published is still polled
	}
	return c.state.err()
}

// Release gives the oldest n polled records back to the producer and wakes it
// if it waits for room. Error: ErrOrder, after which nothing was released.
func (c *Consumer) Release(n int) error {
	if uint(n) > uint(c.polled.open) {
		return ErrOrder
	}
	if n == 0 {
		return nil
	}
	to := c.next // all of them, and padding behind the last
	if n == c.polled.open {
		c.polled.clear()
	} else {
		to = c.polled.pop(n)
	}
	c.guard.release(n)
	c.give(to)
	return nil
}

// give publishes the cursor. The release store orders our reads of the records
// before it, so the producer can't overwrite what is still being read.
func (c *Consumer) give(to uint64) {
	mangle(c.mem, c.mask, c.released, to)
	c.released = to
	c.bound = to + c.size - line
	storeRelease64(c.cursor, to)
	c.stats.Flushes++
	c.wake.afterPublish()
}

// Arm announces that the consumer wants to sleep until something is published,
// and returns false if there is no reason to sleep.
func (c *Consumer) Arm() bool {
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
func (c *Consumer) ready() bool {
	return atomic.LoadUint32(&c.state.reason) != 0 || atomic.LoadUint32(c.mem.word(c.next&c.mask)) != stateEmpty
}

// Disarm ends what Arm began.
func (c *Consumer) Disarm() { c.data.disarm(&c.state) }

// Stats returns the consumer's counters.
func (c *Consumer) Stats() Stats {
	s := c.stats
	s.Wakes = c.wake.wakes
	return s
}
