package rpc

import (
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/wire"
)

// AsyncConn is an engine-driven connection: calls begin on the thread of an
// [engine.Engine] and are completed there by callbacks. All its methods belong
// to that thread (handlers, timers, functions run by [engine.Engine.Do]) but
// for [AsyncConn.Close]. Nothing is allocated, locked or copied in steady
// state, and calls begun within a completion share one claim, one commit and
// one flush.
//
// A call takes three steps, of which generated code makes two typed ones:
//
//	req, err := conn.Begin(bound, size)   // a place in the link's memory
//	… write the request there …
//	err = conn.Send(n, complete, done, tag)
type AsyncConn struct {
	opts  ConnOptions
	port  *engine.Port
	link  link.Link
	max   int
	bound map[*Method]*Bound

	slots []asyncSlot
	subs  map[uint32]*asyncSubscription // by correlation
	correlations
	free    uint32   // first free slot + 1; 0: none
	high    uint32   // slots above have never been used
	orphans []uint32 // correlations of calls that ended without an answer, oldest first
	flying  int

	out    places
	begun  *Bound // Begin was called, Send or Abort was not
	place  *wire.Vesicle
	budget int64  // ns, of the call begun; 0: none
	lastID uint32 // of the call that Send sent last
	batch  []wire.Vesicle
	at     int

	due    int64 // least deadline of a call, or earlier
	timer  engine.Timer
	result Completion
	whole  *link.Reassembler
	outbox outbox
	dead   error
	onGone func(error)
	late   uint64
	times  *asyncTimes // nil: no metrics
}

// Bound is a method as one AsyncConn calls it.
type Bound struct {
	method      *Method
	fingerprint uint64
	budget      int64 // ns; 0: no deadline
	channel     wire.Channel
	times       *metrics.Histogram // nil: none
}

// SetTimeout sets the deadline of later calls of this method; 0 means none.
func (b *Bound) SetTimeout(d time.Duration) { b.budget = int64(max(d, 0)) }

// Method returns the method.
func (b *Bound) Method() *Method { return b.method }

// asyncSlot is a call under way: one cache line.
type asyncSlot struct {
	bound    *Bound
	complete func(*Completion)
	done     any // the user's typed callback
	tag      uint64
	deadline int64  // on the engine's clock
	id       uint32 // its correlation; another generation while it is free
	next     uint32 // of the free list
}

// Completion is the end of a call, as a callback gets it. It and Reply are
// valid until the callback returns.
type Completion struct {
	// Reply is the answer in the memory of the link, or nil.
	Reply []byte
	// Err is why there is none, an [*Error].
	Err error
	// Tag is what Send was given.
	Tag  uint64
	done any
}

// Done returns the callback that Send was given.
func (c *Completion) Done() any { return c.done }

// Attach gives a link to an engine for engine-driven calls. The engine closes
// it when it ends; then gone, if not nil, is run on the thread. A nil o means
// defaults. Errors: ErrOptions, ErrArgument, or those of
// [engine.Engine.Add]; the link is the caller's as before then.
func Attach(e *engine.Engine, l link.Link, o *ConnOptions, gone func(error)) (*AsyncConn, error) {
	if e == nil || l == nil {
		return nil, fmt.Errorf("%w: Attach needs an engine and a link", ErrArgument)
	}
	c := &AsyncConn{link: l, max: l.Info().MaxPayload, bound: make(map[*Method]*Bound), subs: make(map[uint32]*asyncSubscription), due: noDeadline, onGone: gone}
	if o != nil {
		c.opts = *o
	}
	if err := c.opts.setDefaults(); err != nil {
		return nil, err
	}
	c.correlations = newCorrelations(c.opts.MaxInFlight)
	if m, err := newConnMetrics(&c.opts); err != nil {
		return nil, err
	} else if m != nil {
		c.times = &asyncTimes{metrics: m, sent: make([]uint64, 1<<c.bits)}
	}
	c.slots = make([]asyncSlot, 1<<c.bits)
	for i := range c.slots {
		c.slots[i].id = uint32(i)
	}
	c.out.init(l.Info())
	c.out.spill = c.outbox.spill
	c.outbox.init(c.opts.StreamMemory)
	c.outbox.max, c.outbox.places = c.max, &c.out
	c.timer.Func = func(*engine.Timer) { c.expire() }
	enter := func(p *engine.Port) { c.port, c.out.port, c.outbox.port = p, p, p }
	if _, err := e.Add(l, asyncHandler{c}, engine.OnGone(c.gone), engine.CloseLink(), enter); err != nil {
		return nil, err
	}
	return c, nil
}

// Bind returns the method as this connection calls it. Generated clients do so
// once and keep it.
func (c *AsyncConn) Bind(m *Method) *Bound {
	b := c.bound[m]
	if b == nil {
		b = &Bound{method: m, fingerprint: m.Fingerprint, budget: int64(c.opts.Timeout)}
		if c.times != nil {
			b.times = c.times.metrics.timesOf(m)
		}
		c.bound[m] = b
	}
	return b
}

// Port returns the connection's port.
func (c *AsyncConn) Port() *engine.Port { return c.port }

// InFlight returns how many calls are under way.
func (c *AsyncConn) InFlight() int { return c.flying }

// Late returns how many answers came to calls that were over.
func (c *AsyncConn) Late() uint64 { return c.late }

// Begin claims a place of size bytes for a request. The caller fills it in,
// its content being arbitrary before, and calls Send or Abort before anything
// else is begun on this connection. Errors: link.ErrFull (try again when a
// call has completed, or by [engine.Port.Retry]), and an [*Error] with
// StatusResourceExhausted at the limit of calls under way, StatusTooLarge
// where the link takes no such payload at once (see [AsyncConn.SendLarge]),
// StatusUnavailable when the link is gone.
func (c *AsyncConn) Begin(b *Bound, size int) ([]byte, error) {
	if b.budget != 0 {
		place, err := c.out.take(size+wire.DeadlineSize, c.wanted())
		if err != nil {
			return nil, c.notBegun(b, err)
		}
		c.begun, c.place, c.budget = b, place, b.budget
		wire.PutDeadline((*[wire.DeadlineSize]byte)(place.Payload), uint64(b.budget))
		return place.Payload[wire.DeadlineSize:], nil
	}
	place, err := c.out.take(size, c.wanted())
	if err != nil {
		return nil, c.notBegun(b, err)
	}
	c.begun, c.place, c.budget = b, place, 0
	return place.Payload, nil
}

// wanted guesses how many calls this turn will begin: each answer usually
// leads to one.
func (c *AsyncConn) wanted() int { return len(c.batch) - c.at }

func (c *AsyncConn) notBegun(b *Bound, err error) error {
	switch {
	case errors.Is(err, link.ErrFull):
		return link.ErrFull
	case errors.Is(err, link.ErrTooLarge):
		return failure(b.method, wire.StatusTooLarge, err, "not sent")
	}
	return failure(b.method, wire.StatusUnavailable, err, "not sent")
}

// Send sends the request begun, of which n bytes are in use; n as large as
// Begin was told for messages without variable parts. complete is run when the
// call ends, with done and tag in its [Completion]. It travels at the end of
// the batch of answers that is being completed, or at once outside of one.
// Errors: StatusResourceExhausted at the limit of calls under way;
// complete is not run then.
func (c *AsyncConn) Send(n int, complete func(*Completion), done any, tag uint64) error {
	b, place := c.begun, c.place
	if b == nil {
		return fmt.Errorf("%w: Send without Begin", ErrArgument)
	}
	c.begun = nil
	s := c.open(b, c.budget, complete, done, tag)
	if s == nil {
		return c.tooMany(b)
	}
	var flags wire.Flags
	if c.budget != 0 {
		flags = wire.FlagDeadline
		n += wire.DeadlineSize
	}
	place.Payload = place.Payload[:n]
	setHeader(&place.Header, wire.KindRequest, flags, b.fingerprint, s.id)
	if b.channel != wire.ChannelApplication {
		place.Header.Channel = b.channel
	}
	c.out.put()
	if c.at+1 >= len(c.batch) {
		// Outside of a completion, or in the last one of its batch: nothing
		// is likely to follow that could travel along.
		c.out.end()
	}
	return nil
}

// open takes a slot for a call, or returns nil.
func (c *AsyncConn) open(b *Bound, budget int64, complete func(*Completion), done any, tag uint64) *asyncSlot {
	s := c.takeSlot()
	if s == nil {
		return nil
	}
	s.bound, s.complete, s.done, s.tag = b, complete, done, tag
	s.deadline = noDeadline
	if budget != 0 {
		s.deadline = c.port.Now() + budget
		if s.deadline < c.due {
			c.schedule(s.deadline)
		}
	}
	c.flying++
	c.lastID = s.id
	if c.times != nil && b.times != nil {
		c.times.begin(s.id&c.mask, len(c.batch) != 0)
	}
	return s
}

func (c *AsyncConn) tooMany(b *Bound) error {
	return failure(b.method, wire.StatusResourceExhausted, nil, "%d calls are under way on this connection, the limit (MaxInFlight)", len(c.slots))
}

// Abort gives up the request begun.
func (c *AsyncConn) Abort() {
	c.begun = nil // take returns the place again
}

// Flush publishes what was begun in this turn now, instead of at its end.
func (c *AsyncConn) Flush() {
	c.out.end()
}

// Close takes the link off the engine. Calls under way end with
// StatusPeerGone. It may be called from any goroutine.
func (c *AsyncConn) Close() error { return c.port.Engine().Remove(c.port) }

// takeSlot returns a slot with a new id, or nil.
func (c *AsyncConn) takeSlot() *asyncSlot {
	var s *asyncSlot
	switch {
	case c.free != 0:
		s = &c.slots[c.free-1]
		c.free = s.next
	case int(c.high) < len(c.slots):
		s = &c.slots[c.high]
		c.high++
	default:
		return c.takeOrphan()
	}
	s.id = c.next(s.id)
	return s
}

// takeOrphan returns the slot that has waited longest for a late answer.
func (c *AsyncConn) takeOrphan() *asyncSlot {
	for len(c.orphans) > 0 {
		id := c.orphans[0]
		c.orphans = c.orphans[1:]
		if s := &c.slots[id&c.mask]; s.id == id && s.bound == nil {
			s.id = c.next(s.id)
			return s
		}
	}
	return nil
}

// giveSlot frees a slot. Its id belongs to nobody from now on.
func (c *AsyncConn) giveSlot(s *asyncSlot) {
	s.bound = nil
	s.next = c.free
	c.free = s.id&c.mask + 1
	c.flying--
}
