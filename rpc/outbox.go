package rpc

import (
	"errors"
	"sync"

	"github.com/cell-runtime/cell/bulk"
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// outgoing is a vesicle that waits for the engine's thread or for room.
type outgoing struct {
	header wire.Header
	body   *buffer // nil: no payload
}

func (o *outgoing) payload() []byte {
	if o.body == nil {
		return nil
	}
	return o.body.b
}

// outbox is what goroutines send over a port: a queue bounded in bytes that
// the engine's thread empties into the link, in order. Larger vesicles than the
// link takes go in pieces.
type outbox struct {
	limit int

	mu        sync.Mutex
	queue     []outgoing
	bytes     int
	closed    bool
	scheduled bool          // the thread knows
	room      chan struct{} // closed when there is room again; nil if nobody waits

	// What follows belongs to the thread.
	port     *engine.Port
	places   *places
	max      int
	pieces   *link.Fragmenter
	local    []outgoing // taken from queue; local[at:] is still to be sent
	at       int
	timer    engine.Timer
	attempts int // to send local[at] in vain
}

// offer is push without waiting: it returns false, and keeps nothing, if the
// queue is full or closed. The body stays the caller's then.
func (o *outbox) offer(v outgoing) bool {
	size := len(v.payload()) + overhead
	o.mu.Lock()
	if o.closed || o.bytes != 0 && o.bytes+size > o.limit {
		o.mu.Unlock()
		return false
	}
	o.add(v, size)
	return true
}

// spill queues a copy of a vesicle.
func (o *outbox) spill(v *wire.Vesicle) {
	b := newBuffer(len(v.Payload))
	copy(b.b, v.Payload)
	o.push(outgoing{header: v.Header, body: b}, nil)
}

// add queues a vesicle and lets go of the lock.
func (o *outbox) add(v outgoing, size int) {
	o.queue = append(o.queue, v)
	o.bytes += size
	tell := !o.scheduled
	o.scheduled = true
	o.mu.Unlock()
	if tell {
		post(o.port.Engine(), o.onThread)
	}
}

// overhead is what a queued vesicle counts beside its payload, in bytes.
const overhead = 64

func (o *outbox) init(limit int) {
	o.limit = limit
	o.timer.Func = func(*engine.Timer) { o.onThread() }
}

// push queues a vesicle. wait says what to do when the queue is full: wait
// until done is closed, or (nil) not at all, for what is owed to the peer. It
// returns false if the link is gone or done was closed; the body is freed then.
func (o *outbox) push(v outgoing, done <-chan struct{}) bool {
	size := len(v.payload()) + overhead
	for {
		o.mu.Lock()
		if o.closed {
			o.mu.Unlock()
			v.body.free()
			return false
		}
		if done == nil || o.bytes == 0 || o.bytes+size <= o.limit {
			break
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-done:
			v.body.free()
			return false
		}
	}
	o.queue = append(o.queue, v)
	o.bytes += size
	tell := !o.scheduled
	o.scheduled = true
	o.mu.Unlock()
	if tell {
		post(o.port.Engine(), o.onThread)
	}
	return true
}

// onThread sends what it can and flushes.
func (o *outbox) onThread() {
	o.drain()
	o.places.end()
}

// drain sends what is queued, in order, and reports whether all of it is sent.
// It leaves settling and flushing to its caller, and sees to it that the rest
// is tried again.
func (o *outbox) drain() bool {
	for {
		if o.at == len(o.local) && !o.refill() {
			o.attempts = 0
			return true
		}
		v := &o.local[o.at]
		if err := o.send(v); errors.Is(err, link.ErrFull) {
			o.retryLater()
			return false
		}
		// Any other error is the end of the link, which the engine tells.
		v.body.free()
		*v = outgoing{}
		o.at++
		o.attempts = 0
	}
}

// refill takes over what was pushed and reports whether there is anything.
func (o *outbox) refill() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.local, o.queue, o.at = o.queue, o.local[:0], 0
	o.bytes = 0
	o.scheduled = len(o.local) > 0
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
	return len(o.local) > 0
}

func (o *outbox) send(v *outgoing) error {
	payload := v.payload()
	if len(payload) > o.max || o.pieces != nil && o.pieces.Busy() {
		return o.sendPieces(v.header, payload)
	}
	place, err := o.places.take(len(payload), len(o.local)-o.at)
	if err != nil {
		return err
	}
	bulk.Copy(place.Payload, payload)
	place.Header = v.header
	o.places.put()
	return nil
}

func (o *outbox) sendPieces(h wire.Header, payload []byte) error {
	if o.pieces == nil {
		f, err := link.NewFragmenter(portSender{o.port}, o.max)
		if err != nil {
			return err
		}
		o.pieces = f
	}
	if err := o.places.settle(); err != nil {
		return err
	}
	o.places.drop() // no claim of anybody else may be open
	return o.pieces.Send(h, payload)
}

// eagerTries is how often a full link is tried in consecutive cycles before
// the outbox leaves the thread in peace for a tick at a time.
const eagerTries = 2048

func (o *outbox) retryLater() {
	o.attempts++
	wait := engine.TimerResolution
	if o.attempts < eagerTries {
		wait = 0
	}
	o.port.Engine().StartTimer(&o.timer, wait)
}

// close drops everything and refuses what comes. It runs on the thread.
func (o *outbox) close() {
	o.port.Engine().StopTimer(&o.timer)
	o.mu.Lock()
	o.closed = true
	dropped := o.queue
	o.queue = nil
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
	o.mu.Unlock()
	for _, v := range dropped {
		v.body.free()
	}
	for _, v := range o.local[o.at:] {
		v.body.free()
	}
	o.local, o.at = nil, 0
}
