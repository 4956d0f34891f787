package rpc

import (
	"errors"
	"os"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// serverLink is one link that a server serves. All of it belongs to the
// engine's thread, except for what outbox and Exchange say.
type serverLink struct {
	server *Server
	port   *engine.Port
	table  *dispatchTable[served] // all that the server serves
	takes  *dispatchTable[served] // the same, or nothing while it drains
	call   Call
	out    places
	batch  []wire.Vesicle // of the turn under way
	at     int

	info    link.Info
	wary    bool   // requests are copied before they are read
	scratch []byte // for those copies
	outbox  outbox
	whole   *link.Reassembler
	active  map[uint32]*Exchange
	subs    map[uint32]*subscriber
	due     int64 // least deadline of active, or earlier
	timer   engine.Timer
	stats   linkCounts
	trace   traceOf

	relay    RelayLink // nil: none, or none for this link
	attached bool      // relay was asked for
	saidThat bool      // the peer was told that the server drains; see oneWay
}

func newServerLink(s *Server, l link.Link) *serverLink {
	info := l.Info()
	sl := &serverLink{
		server: s, info: info, due: noDeadline,
		active: make(map[uint32]*Exchange), subs: make(map[uint32]*subscriber),
		wary: info.Hostile && !sameUser(info.Peer),
	}
	sl.call.link = sl
	sl.out.init(info)
	sl.out.spill = sl.outbox.spill
	sl.outbox.init(s.opts.MaxQueued)
	sl.outbox.max = info.MaxPayload
	sl.outbox.places = &sl.out
	sl.timer.Func = func(*engine.Timer) { sl.expire() }
	sl.stats.timer.Func = func(*engine.Timer) { sl.publish() }
	sl.stats.sample = s.counts.writer != nil
	return sl
}

// sameUser reports whether the kernel says that the peer runs as this process
// does: such a peer could do worse than change a request under our eyes.
func sameUser(p link.Peer) bool { return p.PID != 0 && p.UID == uint32(os.Geteuid()) }

// enter learns the port, as an option of [engine.Engine.Add], before anything
// happens on it.
func (s *serverLink) enter(p *engine.Port) {
	s.port, s.out.port, s.outbox.port = p, p, p
	s.server.mu.Lock()
	s.server.links[s] = struct{}{}
	s.server.mu.Unlock()
}

// Handle implements engine.Handler: single vesicles while the engine drains.
func (s *serverLink) Handle(p *engine.Port, v *wire.Vesicle) {
	one := [1]wire.Vesicle{*v}
	if s.HandleBatch(p, one[:]) == 0 {
		p.Retry()
	}
}

// HandleBatch implements engine.BatchHandler.
func (s *serverLink) HandleBatch(_ *engine.Port, vs []wire.Vesicle) (done int) {
	s.table = s.server.table.Load()
	s.takes = s.table
	if s.server.draining.Load() {
		s.takes = emptyTable
	}
	s.batch, s.at = vs, 0
	for s.at < len(vs) {
		v := &vs[s.at]
		h := &v.Header
		if h.Kind == wire.KindRequest && h.Channel == wire.ChannelApplication && h.Flags&wire.FlagFragment == 0 {
			if m := s.takes.find(h.Fingerprint); m != nil && m.inline != nil {
				if !s.inline(m, h, v.Payload) {
					break
				}
				s.at++
				continue
			}
		}
		if !s.handle(v) {
			break
		}
		s.at++
	}
	s.out.end()
	s.counted()
	return s.at
}

// inline runs an inline handler and answers. It returns false, and has done
// nothing, if there is no room for the answer.
func (s *serverLink) inline(m *served, h *wire.Header, req []byte) (handled bool) {
	c := &s.call
	c.served, c.header, c.budget = m, h, 0
	if h.Flags&wire.FlagDeadline != 0 {
		c.budget = wire.Deadline((*[wire.DeadlineSize]byte)(req))
		req = req[wire.DeadlineSize:]
	}
	room := m.replySize
	if room > s.info.MaxPayload {
		room = max(s.info.MaxPayload, m.replyBlock)
	}
	place, err := s.out.take(room, len(s.batch)-s.at)
	if err != nil {
		return s.noRoom(err, room)
	}
	if m.copies && s.wary {
		req = s.copy(req)
	}
	n, err := s.run(m, req, place.Payload)
	if err == nil && uint(n) <= uint(len(place.Payload)) {
		place.Payload = place.Payload[:n]
		setHeader(&place.Header, wire.KindReply, h.Flags&priorityFlags, h.Fingerprint, h.Correlation)
		s.out.put()
		if s.at+1 == len(s.batch) {
			s.out.end() // what is left to do has time while the answer is on its way
		}
		s.began(m)
		return true
	}
	s.began(m)
	if err == nil {
		err = Errorf(wire.StatusInternal, "the handler says that its reply has %d bytes of %d", n, len(place.Payload))
	}
	s.fail(h, err)
	return true
}

// run runs an inline handler for s.call.
func (s *serverLink) run(m *served, req, reply []byte) (n int, err error) {
	if !s.stats.sample {
		return m.inline(&s.call, req, reply)
	}
	began := sched.TicksRelaxed()
	n, err = m.inline(&s.call, req, reply)
	s.sampled(m, began)
	return n, err
}

const (
	// priorityFlags are those of a request that its answer keeps.
	priorityFlags = wire.Flags(3 << 3)
	// replyHops is how many forwarders an answer may pass.
	replyHops = 16
)

// noRoom reports whether a vesicle whose answer found no place is done with:
// not if the link is full, since there will be room, but if it is gone.
func (s *serverLink) noRoom(err error, size int) (handled bool) {
	if errors.Is(err, link.ErrTooLarge) {
		// A link whose MaxPayload is less than this method's reply block.
		h := &s.batch[s.at].Header
		s.fail(h, Errorf(wire.StatusTooLarge, "the reply takes %d bytes, this link at most %d at once; use a blocking handler", size, s.info.MaxPayload))
		return true
	}
	return !errors.Is(err, link.ErrFull)
}

// copy returns a copy of a request that the peer can't change.
func (s *serverLink) copy(req []byte) []byte {
	s.scratch = append(s.scratch[:0], req...)
	return s.scratch
}

// fail answers a request with an error, in place if there is room and through
// the outbox if not.
func (s *serverLink) fail(h *wire.Header, err error) {
	s.stats.failed++
	s.answerError(h, asPayload(err))
}

func (s *serverLink) answerError(h *wire.Header, p wire.ErrorPayload) {
	fitError(&p, s.info.MaxPayload)
	head := answerHeader(h, wire.KindError)
	size := errorHead + len(p.Message) + len(p.Details)
	if place, err := s.out.take(size, 1); err == nil {
		p.Append(place.Payload[:0])
		place.Header = head
		s.out.put()
		return
	}
	b := newBuffer(size)
	p.Append(b.b[:0])
	s.outbox.push(outgoing{header: head, body: b}, nil)
}

// answerHeader is the header of an answer to a request.
func answerHeader(h *wire.Header, kind wire.Kind) wire.Header {
	return wire.Header{
		Fingerprint: h.Fingerprint, Correlation: h.Correlation, Kind: kind,
		Flags: h.Flags & priorityFlags, Channel: h.Channel, Hops: replyHops,
	}
}

// Recovered implements engine.Recoverer: a panic of an inline handler costs
// its call alone.
func (s *serverLink) Recovered(*engine.Port, any) (done int) {
	s.stats.panics++
	if s.at < len(s.batch) {
		if h := &s.batch[s.at].Header; h.Kind == wire.KindRequest {
			s.fail(h, errHandlerFailed)
		}
	}
	s.out.end()
	return s.at + 1
}

// errHandlerFailed is what the caller of a handler that panicked gets. What
// happened is the log's.
var errHandlerFailed = &Error{Status: wire.StatusInternal, Message: "the handler failed"}

// gone runs when the link has left the engine.
func (s *serverLink) gone(p *engine.Port, err error) {
	p.Engine().StopTimer(&s.timer)
	p.Engine().StopTimer(&s.stats.timer)
	s.publish()
	if s.whole != nil {
		s.whole.Close()
	}
	s.outbox.close()
	for _, x := range s.active {
		x.end(failure(nil, wire.StatusPeerGone, err, "the caller is gone"))
	}
	clear(s.active)
	for _, sub := range s.subs {
		sub.topic.remove(sub)
	}
	clear(s.subs)
	if s.relay != nil {
		s.relay.Detach()
	}
	s.server.left(s)
}
