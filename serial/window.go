package serial

import (
	"fmt"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// window is both halves of a connection over a line that loses frames. Each
// vesicle has a number and stays in its slot until the peer says that it has
// it; the peer puts them in order.
//
// All of it is under the line's mutex: what the line brings concerns the sender
// too, so whoever is called, a half or the attendant, does the reading for all.
type window struct {
	line  *line
	read  *reader
	alive keepAlive
	size  uint64 // slots on either side

	out outgoing
	in  incoming
	attendant
}

func newWindow(l *line, r *reader, max int, buffer int, size int, alive time.Duration) *window {
	w := &window{line: l, read: r, size: uint64(size), alive: keepAlive{every: alive}}
	w.out = newOutgoing(max, buffer, size)
	w.in = newIncoming(r.max, size)
	l.more = w.more
	l.ack = w.makeAck
	return w
}

// service reads what the line brings, once, and does what follows from it.
func (w *window) service() {
	if w.line.cause.Load() == nil {
		if !w.parse() && w.read.fill(false) {
			w.parse()
		}
	}
	w.tick()
	w.notify()
}

// parse takes all whole frames and reports whether there were any.
func (w *window) parse() (any bool) {
	for w.line.cause.Load() == nil {
		switch w.read.next() {
		case foundNothing:
			return any
		case foundVesicle:
			w.take()
		case foundAck:
			w.takeAck()
		case foundHello:
			w.line.heard(w.read.hello)
		case foundBye:
			w.line.parted(w.read.session)
		}
		any = true
	}
	return any
}

// tick does what must be done at certain times, and writes what is due.
func (w *window) tick() {
	if w.line.cause.Load() != nil {
		return
	}
	ask, err := w.alive.look(w.line.stats.Frames)
	switch {
	case err != nil:
		w.line.end(err)
	case ask:
		w.line.due |= dueHello | dueAsk
	}
	w.overdue()
	w.line.push()
}

func (w *window) failed() error {
	if err := w.line.failed(); err != nil {
		return err
	}
	return w.line.gone
}

func (w *window) claim(out []wire.Vesicle, size int) (n int, err error) {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	if uint(size) > uint(w.out.max) {
		return 0, tooLarge(size, w.out.max)
	}
	if err := w.failed(); err != nil {
		return 0, err
	}
	if len(out) > 0 && !w.room(size) {
		w.service()
		if err := w.failed(); err != nil {
			return 0, err
		}
	}
	for n < len(out) && w.room(size) {
		place := w.out.arena.take(size)
		if place == nil {
			break
		}
		out[n].Payload = place
		w.out.outstanding++
		n++
	}
	if n == 0 && len(out) > 0 {
		w.out.count.Full++
		return 0, link.ErrFull
	}
	return n, nil
}

// room says whether there is a slot for one more claim. The slot whose frame is
// being written just now is none, even if it was acknowledged meanwhile.
func (w *window) room(size int) bool {
	o := &w.out
	s := o.next + uint64(o.outstanding)
	if len(o.arena.buf)-o.arena.next < placeExtra+size || s-o.base >= w.size {
		return false
	}
	return len(w.line.data) == 0 || o.writing%w.size != s%w.size
}

func (w *window) commit(vs []wire.Vesicle) error {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	o := &w.out
	if len(vs) > o.outstanding {
		return link.ErrOrder
	}
	for i := range vs {
		v := &vs[i]
		place, _, err := o.arena.give(v)
		if err != nil {
			return fmt.Errorf("%w: vesicle %d has a payload that is not the claimed place", err, i)
		}
		v.Header.Length = uint32(len(v.Payload))
		s := &o.slots[o.next%w.size]
		*s = outSlot{line: s.line}
		s.n = encodeVesicle(s.line, place, &v.Header, len(v.Payload), int(byte(o.next)))
		o.next++
		o.outstanding--
		o.count.Bytes += uint64(len(v.Payload))
		o.count.Vesicles++
	}
	if o.outstanding == 0 {
		o.arena.reset()
	}
	return nil
}

func (w *window) abort() {
	w.line.mu.Lock()
	w.out.outstanding = 0
	w.out.arena.reset()
	w.line.mu.Unlock()
}

func (w *window) flush() error {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	if err := w.failed(); err != nil {
		return err
	}
	o := &w.out
	if fresh := o.flushed != o.next; !fresh && o.sent == o.flushed && len(w.line.data) == 0 {
		return nil
	}
	o.flushed = o.next
	w.line.push()
	defer w.call()
	if o.sent != o.flushed {
		w.service()
	}
	if err := w.failed(); err != nil {
		return err
	}
	if o.sent != o.flushed || len(w.line.data) > 0 {
		o.count.Full++
		return link.ErrFull
	}
	o.count.Flushes++
	return nil
}

func (w *window) sendStats() link.Stats {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	return w.out.count
}

func (w *window) poll(in []wire.Vesicle) (n int, err error) {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	if w.line.state.Load() != stateOpen {
		return 0, link.ErrClosed
	}
	if w.in.delivered == w.in.next {
		w.service()
	}
	for n < len(in) && w.in.delivered < w.in.next {
		s := &w.in.slots[w.in.delivered%w.size]
		in[n] = wire.Vesicle{Header: s.header, Payload: s.payload[:s.header.Length:s.header.Length]}
		w.in.count.Bytes += uint64(s.header.Length)
		w.in.delivered++
		n++
	}
	w.in.count.Vesicles += uint64(n)
	if n > 0 {
		return n, nil
	}
	return 0, w.line.failed()
}

func (w *window) release(n int) error {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	i := &w.in
	if n < 0 || uint64(n) > i.delivered-i.released {
		return link.ErrOrder
	}
	if n == 0 {
		return nil
	}
	for range n {
		i.slots[i.released%w.size].here = false
		i.released++
	}
	i.count.Flushes++
	// The peer is told of new room when it had little and now has much.
	if half := w.size / 2; i.told-i.next <= half && i.released+w.size-i.told >= half && w.failed() == nil {
		w.line.due |= dueAck
		w.line.push()
		w.call()
	}
	return nil
}

func (w *window) receiveStats() link.Stats {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	return w.in.count
}
