package linktest

import (
	"fmt"
	"sync"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// PipeConfig describes a [Pipe]. Zero fields get the default.
type PipeConfig struct {
	// Slots is how many vesicles each direction holds; default 64.
	Slots int
	// MaxPayload is the most payload bytes of a vesicle; default 4096. Each
	// slot has that much memory.
	MaxPayload int
	// Drop, if set, says whether vesicle i (counted from 0 in each direction)
	// is lost.
	Drop func(i uint64) bool
	// Swap, if set, says whether vesicle i arrives after the one behind it, if
	// both are flushed together.
	Swap func(i uint64) bool
}

// Pipe returns both ends of a link within this process: the reference that the
// suite itself is tested with, and a link for tests of what works over links.
// It is simple, not fast: one mutex guards everything, and sleepers are woken
// through eventfds. Close both ends to free the descriptors.
func Pipe(c PipeConfig) (a, b *End, err error) {
	if c.Slots == 0 {
		c.Slots = 64
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = 4096
	}
	p := &pipe{config: c}
	for i := range p.ends {
		e := &p.ends[i]
		e.pipe, e.peer = p, &p.ends[1-i]
		if err := e.open(); err != nil {
			p.ends[0].closeFDs()
			return nil, nil, fmt.Errorf("linktest: pipe: %w", err)
		}
	}
	p.ends[0].out, p.ends[1].out = newLane(c), newLane(c)
	p.ends[0].in, p.ends[1].in = p.ends[1].out, p.ends[0].out
	return &p.ends[0], &p.ends[1], nil
}

type pipe struct {
	config PipeConfig
	mu     sync.Mutex // guards everything below, of both ends
	ends   [2]End
}

// End is one end of a [Pipe].
type End struct {
	pipe         *pipe
	peer         *End
	out, in      *lane
	end          error  // why this end takes part no more; nil while it does
	fds          [2]int // eventfds: data, space; -1 when closed
	armed        [2]bool
	sent, polled link.Stats
}

// Indexes into fds and armed.
const (
	data = iota
	space
)

// lane is one direction: a circle of slots with cursors that only grow,
// released ≤ polled ≤ published ≤ committed ≤ claimed ≤ released+len(slots).
type lane struct {
	slots                                           []slot
	released, polled, published, committed, claimed uint64
	flushed                                         uint64 // vesicles, for Drop and Swap
}

type slot struct {
	header [wire.HeaderSize]byte
	buf    []byte // of MaxPayload bytes
	length int
}

func newLane(c PipeConfig) *lane {
	l := &lane{slots: make([]slot, c.Slots)}
	for i := range l.slots {
		l.slots[i].buf = make([]byte, c.MaxPayload)
	}
	return l
}

func (l *lane) at(i uint64) *slot { return &l.slots[i%uint64(len(l.slots))] }
func (l *lane) full() bool        { return l.claimed-l.released == uint64(len(l.slots)) }

// Claim implements [link.Sender].
func (e *End) Claim(out []wire.Vesicle, size int) (n int, err error) {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	if err := e.failed(); err != nil {
		return 0, err
	}
	if size < 0 || size > e.pipe.config.MaxPayload {
		return 0, fmt.Errorf("%w: %d bytes, this pipe takes %d", link.ErrTooLarge, size, e.pipe.config.MaxPayload)
	}
	for n < len(out) && !e.out.full() {
		s := e.out.at(e.out.claimed)
		s.length = size
		out[n].Payload = s.buf[:size:size]
		e.out.claimed++
		n++
	}
	if n == 0 && len(out) > 0 {
		e.sent.Full++
		return 0, link.ErrFull
	}
	return n, nil
}

// Commit implements [link.Sender].
func (e *End) Commit(vs []wire.Vesicle) error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	l := e.out
	if uint64(len(vs)) > l.claimed-l.committed {
		return fmt.Errorf("%w: %d to commit, %d claimed", link.ErrOrder, len(vs), l.claimed-l.committed)
	}
	for i := range vs {
		s, payload := l.at(l.committed+uint64(i)), vs[i].Payload
		if len(payload) > s.length || len(payload) > 0 && &payload[0] != &s.buf[0] {
			return fmt.Errorf("%w: payload %d is not the place that was claimed", link.ErrOrder, i)
		}
	}
	for i := range vs {
		s := l.at(l.committed)
		s.length = len(vs[i].Payload)
		h := vs[i].Header
		h.Length = uint32(s.length)
		h.Put(&s.header)
		l.committed++
		e.sent.Vesicles++
		e.sent.Bytes += uint64(s.length)
	}
	return nil
}

// Abort implements [link.Sender].
func (e *End) Abort() {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	e.out.claimed = e.out.committed
}

// Flush implements [link.Sender].
func (e *End) Flush() error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	if err := e.failed(); err != nil {
		return err
	}
	l := e.out
	if l.published == l.committed {
		return nil
	}
	e.sent.Flushes++
	e.disturb()
	l.published = l.committed
	e.peer.wake(data, &e.sent)
	return nil
}

// disturb drops and swaps what is about to be published.
func (e *End) disturb() {
	l, c := e.out, e.pipe.config
	for i := l.published; i < l.committed; i++ {
		number := l.flushed
		l.flushed++
		switch {
		case c.Drop != nil && c.Drop(number):
			// The slot goes behind all others; payloads that are claimed
			// move along with theirs.
			for j := i; j+1 < l.claimed; j++ {
				*l.at(j), *l.at(j + 1) = *l.at(j + 1), *l.at(j)
			}
			l.claimed--
			l.committed--
			i--
		case c.Swap != nil && c.Swap(number) && i+1 < l.committed:
			*l.at(i), *l.at(i + 1) = *l.at(i + 1), *l.at(i)
			l.flushed++
			i++
		}
	}
}

// ArmSpace implements [link.Sender].
func (e *End) ArmSpace(size int) bool {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	if e.failed() != nil || !e.out.full() || size > e.pipe.config.MaxPayload {
		return false
	}
	e.armed[space] = true
	return true
}

// DisarmSpace implements [link.Sender].
func (e *End) DisarmSpace() { e.disarm(space) }

// SendStats implements [link.Sender].
func (e *End) SendStats() link.Stats {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	return e.sent
}

// Poll implements [link.Receiver].
func (e *End) Poll(in []wire.Vesicle) (n int, err error) {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	if e.end != nil {
		return 0, e.end
	}
	l := e.in
	for n < len(in) && l.polled < l.published {
		s := l.at(l.polled)
		h, err := wire.Decode(s.header[:])
		if err == nil && int(h.Length) != s.length {
			err = fmt.Errorf("header announces %d bytes, %d came", h.Length, s.length)
		}
		if err != nil {
			if n > 0 {
				return n, nil // the next Poll comes here again
			}
			e.polled.Corrupt++
			e.shutdown(fmt.Errorf("%w: %w", link.ErrCorrupt, err))
			return 0, e.end
		}
		in[n] = wire.Vesicle{Header: h, Payload: s.buf[:s.length:s.length]}
		l.polled++
		n++
		e.polled.Vesicles++
		e.polled.Bytes += uint64(s.length)
	}
	if n == 0 && len(in) > 0 && e.peer.end != nil {
		return 0, link.ErrPeerGone
	}
	return n, nil
}

// Release implements [link.Receiver].
func (e *End) Release(n int) error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	l := e.in
	if n < 0 || uint64(n) > l.polled-l.released {
		return fmt.Errorf("%w: %d to release, %d polled", link.ErrOrder, n, l.polled-l.released)
	}
	if n == 0 {
		return nil
	}
	l.released += uint64(n)
	e.polled.Flushes++
	e.peer.wake(space, &e.polled)
	return nil
}

// Arm implements [link.Receiver].
func (e *End) Arm() bool {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	if e.failed() != nil || e.in.polled < e.in.published {
		return false
	}
	e.armed[data] = true
	return true
}

// Disarm implements [link.Receiver].
func (e *End) Disarm() { e.disarm(data) }

// ReceiveStats implements [link.Receiver].
func (e *End) ReceiveStats() link.Stats {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	return e.polled
}

// Info implements [link.Link].
func (e *End) Info() link.Info {
	c := e.pipe.config
	return link.Info{
		Kind: "pipe", Peer: link.Peer{Addr: "this process"}, MaxPayload: c.MaxPayload,
		ZeroCopy: true, Ordered: c.Swap == nil, Reliable: c.Drop == nil,
	}
}

// CheckPeer implements [link.Link].
func (e *End) CheckPeer() error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	return e.failed()
}

// Shutdown implements [link.Link].
func (e *End) Shutdown() {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	e.shutdown(link.ErrClosed)
}

// Close implements [link.Link]. It may be called again.
func (e *End) Close() error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	e.shutdown(link.ErrClosed)
	e.closeFDs()
	return nil
}

// Inject makes the peer receive a slot with an arbitrary header and payload,
// as a hostile process with access to the memory could. It does nothing if
// there is no room. No claim may be outstanding.
func (e *End) Inject(header [wire.HeaderSize]byte, payload []byte) {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	l := e.out
	if l.full() || l.claimed != l.published {
		return
	}
	s := l.at(l.claimed)
	s.header, s.length = header, copy(s.buf, payload)
	l.claimed++
	l.committed, l.published = l.claimed, l.claimed
	e.peer.wake(data, &e.sent)
}

func (e *End) failed() error {
	if e.end == nil && e.peer.end != nil {
		return link.ErrPeerGone
	}
	return e.end
}

func (e *End) shutdown(why error) {
	if e.end != nil {
		return
	}
	e.end = why
	var nobody link.Stats
	for _, x := range []*End{e, e.peer} {
		x.armed = [2]bool{true, true} // whoever waits must see this
		x.wake(data, &nobody)
		x.wake(space, &nobody)
	}
}
