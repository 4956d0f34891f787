package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// handle takes a vesicle that isn't a plain request for an inline handler. It
// returns false, and has done nothing, if the link has no room for what would
// follow from it.
func (s *serverLink) handle(v *wire.Vesicle) (handled bool) {
	if s.server.opts.Relay != nil {
		if taken, waits := s.relayed(v); taken {
			return !waits
		}
	}
	if v.Header.Flags&wire.FlagFragment != 0 {
		s.piece(*v)
		return true
	}
	return s.dispatch(&v.Header, v.Payload, false)
}

// dispatch acts on a whole vesicle. copied: its payload is this side's own,
// and it can't be offered again.
func (s *serverLink) dispatch(h *wire.Header, payload []byte, copied bool) (handled bool) {
	if h.Channel == wire.ChannelOperations {
		return s.operation(h, payload)
	}
	switch h.Kind {
	case wire.KindRequest:
		return s.request(h, payload, copied)
	case wire.KindEvent:
		s.oneWay(h, payload, copied)
	case wire.KindStreamItem:
		s.item(h, payload)
	case wire.KindCredit:
		s.credit(h, payload)
	case wire.KindCancel:
		s.cancel(h)
	}
	return true
}

// request begins a call.
func (s *serverLink) request(h *wire.Header, payload []byte, copied bool) (handled bool) {
	m := s.table.find(h.Fingerprint)
	switch {
	case s.server.draining.Load():
		s.fail(h, errDraining)
	case m == nil || h.Channel != wire.ChannelApplication:
		s.unserved(h)
	case len(payload) > s.server.opts.MaxRequest+wire.DeadlineSize:
		s.tooLarge(h)
	case m.method.Mode == schema.Topic:
		s.subscribe(m, h, payload)
	case m.inline != nil && copied:
		s.inlineWhole(m, h, payload)
	case m.inline != nil:
		return s.inline(m, h, payload)
	default:
		s.begin(m, h, payload)
	}
	return true
}

// unserved refuses what nobody serves here.
func (s *serverLink) unserved(h *wire.Header) {
	s.stats.unknown++
	s.stats.failed++
	s.answerError(h, wire.ErrorPayload{
		Status:  wire.StatusUnimplemented,
		Message: fmt.Sprintf("nobody serves fingerprint %s here", schema.FormatFingerprint(h.Fingerprint)),
		Details: []byte(unservedMark),
	})
}

// inlineWhole serves a request that came in pieces: the answer goes through
// the outbox, since a request can't be put together a second time.
func (s *serverLink) inlineWhole(m *served, h *wire.Header, req []byte) {
	c := &s.call
	c.served, c.header = m, h
	c.budget, req = splitBudget(h, req)
	s.began(m)
	b := newBuffer(m.replySize)
	n, err := s.run(m, req, b.b)
	if err != nil || uint(n) > uint(len(b.b)) {
		b.free()
		s.fail(h, errOrReplySize(err, n))
		return
	}
	b.b = b.b[:n]
	s.outbox.push(outgoing{header: answerHeader(h, wire.KindReply), body: b}, nil)
}

func errOrReplySize(err error, n int) error {
	if err != nil {
		return err
	}
	return Errorf(wire.StatusInternal, "the handler says that its reply has %d bytes", n)
}

// splitBudget takes the deadline's prefix off a payload. The link has checked
// that it is there.
func splitBudget(h *wire.Header, payload []byte) (budget uint64, rest []byte) {
	if h.Flags&wire.FlagDeadline == 0 {
		return 0, payload
	}
	return wire.Deadline((*[wire.DeadlineSize]byte)(payload)), payload[wire.DeadlineSize:]
}

// oneWay runs the handler of a request without answer. A server that drains
// does so too, since nobody would hear of a refusal; but it says so once, in an
// error of no call, so that the next ones go elsewhere.
func (s *serverLink) oneWay(h *wire.Header, payload []byte, copied bool) {
	m := s.table.find(h.Fingerprint)
	if m == nil || m.method.Mode != schema.OneWay {
		s.stats.unknown++
		return
	}
	if !s.saidThat && s.server.draining.Load() {
		s.saidThat = true
		s.answerError(&wire.Header{Fingerprint: h.Fingerprint, Channel: h.Channel}, asPayload(errDraining))
	}
	if m.inline == nil {
		s.begin(m, h, payload)
		return
	}
	s.began(m)
	c := &s.call
	c.served, c.header = m, h
	var req []byte
	c.budget, req = splitBudget(h, payload)
	if m.copies && s.wary && !copied {
		req = s.copy(req)
	}
	if _, err := s.run(m, req, nil); err != nil {
		s.stats.failed++
	}
}

// begin hands a call to the pool.
func (s *serverLink) begin(m *served, h *wire.Header, payload []byte) {
	s.began(m)
	oneWay := m.method.Mode == schema.OneWay
	if old := s.active[h.Correlation]; !oneWay && old != nil && !old.answered.Load() {
		s.fail(h, Errorf(wire.StatusInvalidArgument, "correlation %#x belongs to another call under way", h.Correlation))
		return
	}
	if len(s.active) >= s.server.opts.MaxInFlight {
		s.refuse(oneWay, h, "%d calls of this link are under way, the limit (MaxInFlight)", len(s.active))
		return
	}
	x := &Exchange{link: s, served: m, header: *h, due: noDeadline}
	x.ctx.done = make(chan struct{})
	x.ctx.trace = s.trace.of(h.Correlation)
	x.began = sched.TicksRelaxed()
	budget, req := splitBudget(h, payload)
	s.setDeadline(x, budget)
	x.request = newBuffer(len(req))
	copy(x.request.b, req)
	s.openStreams(x)
	s.server.flying.Add(1)
	if !s.server.pool.submit(x) {
		s.server.flying.Add(-1)
		x.request.free()
		x.in.end(errQueueFull)
		s.refuse(oneWay, h, "%d calls wait for a worker, the limit (Queue)", s.server.opts.Queue)
		return
	}
	s.port.Hold()
	if !oneWay {
		s.active[h.Correlation] = x
		s.schedule(x.due)
	}
}

var errQueueFull = errors.New("rpc: queue full")

func (s *serverLink) refuse(oneWay bool, h *wire.Header, format string, args ...any) {
	if oneWay {
		s.stats.failed++
		return
	}
	s.fail(h, Errorf(wire.StatusResourceExhausted, format, args...))
}

// openStreams prepares the streams that the method has.
func (s *serverLink) openStreams(x *Exchange) {
	switch x.served.method.Mode {
	case schema.ServerStream, schema.BothStreams:
		x.out.wake = make(chan struct{}, 1)
	}
	switch x.served.method.Mode {
	case schema.ClientStream, schema.BothStreams:
		x.in.wake = make(chan struct{}, 1)
		x.grant(x.in.open(s.server.opts.Window, s.server.opts.StreamMemory))
	}
}

// setDeadline starts the call's budget.
func (s *serverLink) setDeadline(x *Exchange, budget uint64) {
	if most := uint64(s.server.opts.MaxDeadline); most != 0 && (budget == 0 || budget > most) {
		budget = most
	}
	if budget == 0 {
		return
	}
	left := time.Duration(min(budget, uint64(maxBudget)))
	x.due = s.port.Engine().ReadClock() + int64(left) // never early
	x.ctx.deadline = time.Now().Add(left)
}

// maxBudget bounds deadlines, so that no sum overflows: some 146 years.
const maxBudget = time.Duration(1 << 62)

// schedule sees to it that expire runs at the given time or before.
func (s *serverLink) schedule(due int64) {
	if due < s.due {
		s.due = due
		s.port.Engine().StartTimer(&s.timer, time.Duration(due-s.port.Now()))
	}
}

// expire ends the calls whose time is up, and finds out when to look again.
func (s *serverLink) expire() {
	now := s.port.Now()
	next := s.expirePieces(now)
	for correlation, x := range s.active {
		if x.due > now {
			next = min(next, x.due)
			continue
		}
		delete(s.active, correlation)
		if !x.answered.Swap(true) {
			s.fail(&x.header, Errorf(wire.StatusDeadlineExceeded, "the handler took longer than the call's budget"))
		}
		x.end(failure(x.served.method, wire.StatusDeadlineExceeded, nil, "the call's budget is used up"))
	}
	s.due = noDeadline
	s.schedule(next)
	s.out.end()
}

// item is an item of a client's stream, or its end.
func (s *serverLink) item(h *wire.Header, payload []byte) {
	x := s.active[h.Correlation]
	if x == nil || x.header.Fingerprint != h.Fingerprint {
		s.stats.late++
		return
	}
	if h.Flags&wire.FlagEnd != 0 {
		x.in.end(nil)
		return
	}
	if !x.in.put(payload) {
		s.stats.malformed++
		delete(s.active, h.Correlation)
		if !x.answered.Swap(true) {
			s.fail(&x.header, Errorf(wire.StatusResourceExhausted, "more items were sent than the handler had room for"))
		}
		x.end(failure(x.served.method, wire.StatusResourceExhausted, nil, "the client sent more than it was granted"))
	}
}

func (s *serverLink) credit(h *wire.Header, payload []byte) {
	if len(payload) < creditSize {
		s.stats.malformed++
		return
	}
	n := binary.LittleEndian.Uint32(payload)
	if x := s.active[h.Correlation]; x != nil && x.header.Fingerprint == h.Fingerprint {
		x.out.add(n)
		return
	}
	if sub := s.subs[h.Correlation]; sub != nil && sub.header.Fingerprint == h.Fingerprint {
		s.subscriberCredit(sub, n)
		return
	}
	s.stats.late++
}

// cancel ends a call that its caller no longer wants.
func (s *serverLink) cancel(h *wire.Header) {
	if sub := s.subs[h.Correlation]; sub != nil && sub.header.Fingerprint == h.Fingerprint {
		delete(s.subs, h.Correlation)
		sub.topic.remove(sub)
		return
	}
	x := s.active[h.Correlation]
	if x == nil || x.header.Fingerprint != h.Fingerprint {
		s.stats.late++
		return
	}
	delete(s.active, h.Correlation)
	x.end(failure(x.served.method, wire.StatusCanceled, nil, "the caller canceled"))
}

var _ engine.Recoverer = (*serverLink)(nil)
