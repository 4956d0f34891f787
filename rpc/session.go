package rpc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// pollBatch is how many vesicles a waiting caller takes at a time.
const pollBatch = 32

// session is one life of a caller-driven connection: a link and the calls
// under way on it. Two locks: whoever sends holds sendMu, whoever polls holds
// recvMu, and nobody waits for recvMu: it is tried, since one poller serves
// all. Where both are held, recvMu was taken first.
type session struct {
	conn     *Conn
	link     link.Link
	max      int // the link's MaxPayload
	dead     atomic.Pointer[deadLink]
	draining atomic.Bool // its server takes no more calls
	born     time.Time
	due      atomic.Int64             // least deadline of a call, or earlier
	life     uint64                   // how many links the connection had before
	bindings atomic.Pointer[bindings] // nil: its server was not asked yet
	// unflushed: the medium took only a part of what was flushed.
	unflushed atomic.Bool
	glanced   atomic.Int64 // when somebody looked after the link last

	_      [64]byte
	sendMu sync.Mutex // guards what follows
	table  callTable
	out    [1]wire.Vesicle
	pieces *link.Fragmenter

	_      [64]byte
	recvMu sync.Mutex // guards what follows
	in     [pollBatch]wire.Vesicle
	want   int // vesicles to ask for: as many as the last burst had
	burst  int // vesicles polled since a poll found nothing
	whole  *link.Reassembler
	fds    []unix.PollFd
	fdList []int
	closed bool

	restless bool          // whoever waits spins, at first or always
	kicked   chan struct{} // holds one value: look again; nil where descriptors tell
	timer    *time.Timer   // of park on kicked

	lot  lot // callers that sleep while another polls
	bell bell
}

// deadLink is why a session has ended.
type deadLink struct{ err error }

func newSession(c *Conn, l link.Link) *session {
	s := &session{conn: c, link: l, born: time.Now(), life: c.counts.reconnects.Load(), max: l.Info().MaxPayload, want: 1}
	s.due.Store(noDeadline)
	s.glanced.Store(clock())
	s.table.init(c.opts.MaxInFlight)
	s.bell.fd = -1
	s.restless = c.opts.Wait != WaitPark
	if f, ok := l.(link.Fed); ok {
		s.kicked = make(chan struct{}, 1)
		s.bell.kick = s.kick
		f.OnWake(s.kick)
		// What a link of goroutines waits for needs the processor, and is
		// further away than any time that is worth spinning.
		s.restless = c.opts.Wait == WaitSpin
	}
	return s
}

// clock returns nanoseconds since some instant, cheaply; only differences mean
// anything.
func clock() int64 { return sched.TicksToNanos(sched.TicksRelaxed()) }

// open sends a request and returns its place in the table. reply is where its
// answer goes. Errors: an *Error; nothing was executed then.
func (s *session) open(ctx context.Context, m *Method, fingerprint uint64, budget time.Duration, req Encoder, reply Decoder, stream *clientStream) (*pending, *Error) {
	return s.openOn(ctx, wire.ChannelApplication, m, fingerprint, budget, req, reply, stream)
}

func (s *session) openOn(ctx context.Context, channel wire.Channel, m *Method, fingerprint uint64, budget time.Duration, req Encoder, reply Decoder, stream *clientStream) (*pending, *Error) {
	due := noDeadline
	if budget > 0 {
		due = clock() + int64(min(budget, maxBudget))
	}
	s.sendMu.Lock()
	p := s.table.take()
	if p == nil {
		s.sendMu.Unlock()
		return nil, failure(m, wire.StatusResourceExhausted, nil, "%d calls are under way on this connection, the limit (MaxInFlight)", len(s.table.slots))
	}
	p.method, p.fingerprint, p.reply, p.due, p.stream = m, fingerprint, reply, due, stream
	h := wire.Header{Fingerprint: fingerprint, Correlation: p.id, Kind: wire.KindRequest, Channel: channel, Hops: replyHops}
	if stream != nil {
		stream.pending, stream.header = p, h
	}
	p.word.Store(word(p.id, phaseWaiting))
	if trace := s.conn.opts.Traceparent; trace != nil {
		s.sendTrace(ctx, m, &h, due, trace(ctx))
	}
	if err := s.send(ctx, m, &h, budget, due, req); err != nil {
		// Nobody answers what was not sent, but someone else may have found
		// the link dead and be filling the slot.
		s.withdraw(p)
		s.table.give(p)
		s.sendMu.Unlock()
		return nil, err
	}
	s.sendMu.Unlock()
	if due != noDeadline {
		s.hurry(due)
	}
	return p, nil
}

// sendTrace sends the tracing context in front of a request. If that fails,
// sending the request will fail too, and tell.
func (s *session) sendTrace(ctx context.Context, m *Method, h *wire.Header, due int64, text string) {
	if text == "" || len(text) > maxTraceparent {
		return
	}
	extension := wire.Header{
		Fingerprint: traceparentFingerprint, Correlation: h.Correlation,
		Kind: wire.KindEvent, Channel: wire.ChannelOperations, Hops: replyHops,
	}
	_ = s.send(ctx, m, &extension, 0, due, traceMessage(text))
}

// withdraw makes a call the owner's again, whatever others are doing with it.
func (s *session) withdraw(p *pending) {
	for !p.seize(p.id) && !p.ready() {
		sched.Pause() // somebody decodes its answer at this moment
	}
}

// send sends one vesicle of a call, holding the send lock but for waits. With
// a budget its prefix goes first. A nil message is no payload.
func (s *session) send(ctx context.Context, m *Method, h *wire.Header, budget time.Duration, due int64, msg Encoder) *Error {
	if d := s.dead.Load(); d != nil {
		return failure(m, wire.StatusUnavailable, d.err, "not sent")
	}
	prefix := 0
	if budget > 0 {
		prefix = wire.DeadlineSize
		h.Flags |= wire.FlagDeadline
	}
	size := prefix
	if msg != nil {
		size += msg.SizeCell()
	}
	if size > s.max {
		return s.sendLarge(ctx, m, h, budget, due, msg, prefix, size)
	}
	for tries := 0; ; tries++ {
		_, err := s.link.Claim(s.out[:], size)
		if err == nil {
			break
		}
		if !errors.Is(err, link.ErrFull) {
			return s.broken(m, err)
		}
		if err := s.waitForRoom(ctx, m, due, tries); err != nil {
			return err
		}
	}
	place := s.out[0].Payload
	if err := fill(place, prefix, budget, msg); err != nil {
		s.link.Abort()
		return failure(m, wire.StatusInvalidArgument, err, "the message can't be encoded")
	}
	s.out[0].Header = *h
	if err := s.link.Commit(s.out[:]); err != nil {
		return s.broken(m, err)
	}
	s.flush()
	return nil
}

func fill(place []byte, prefix int, budget time.Duration, msg Encoder) error {
	if prefix != 0 {
		wire.PutDeadline((*[wire.DeadlineSize]byte)(place), uint64(budget))
	}
	if msg == nil {
		return nil
	}
	n, err := msg.EncodeCell(place[prefix:])
	if err == nil && prefix+n != len(place) {
		err = errors.New("its length is not what SizeCell says")
	}
	return err
}

// sendLarge sends a vesicle in pieces.
func (s *session) sendLarge(ctx context.Context, m *Method, h *wire.Header, budget time.Duration, due int64, msg Encoder, prefix, size int) *Error {
	b := newBuffer(size)
	defer b.free()
	if err := fill(b.b, prefix, budget, msg); err != nil {
		return failure(m, wire.StatusInvalidArgument, err, "the message can't be encoded")
	}
	if s.pieces == nil {
		f, err := link.NewFragmenter(s.link, s.max)
		if err != nil {
			return failure(m, wire.StatusTooLarge, err, "%d bytes", size)
		}
		s.pieces = f
	}
	// One at a time: another that is under way must end first.
	for tries := 0; s.pieces.Busy(); tries++ {
		if err := s.waitForRoom(ctx, m, due, tries); err != nil {
			return err
		}
	}
	for tries := 0; ; tries++ {
		err := s.pieces.Send(*h, b.b)
		if err == nil {
			s.flush()
			return nil
		}
		if !errors.Is(err, link.ErrFull) {
			return s.broken(m, err)
		}
		if err := s.waitForRoom(ctx, m, due, tries); err != nil {
			s.pieces.Cancel()
			return err
		}
	}
}

// flush publishes what is committed, holding the send lock. What the medium
// takes only in part goes on when somebody polls; a dead link shows itself
// there as well.
func (s *session) flush() {
	switch {
	case errors.Is(s.link.Flush(), link.ErrFull):
		s.unflushed.Store(true)
		s.bell.ring() // a parked poller waits for answers alone
	case s.unflushed.Load():
		s.unflushed.Store(false)
	}
}

// flushAll waits until the medium has taken everything, holding the send lock
// but for waits. Perhaps nobody polls from now on, and the rest would stay here.
func (s *session) flushAll(ctx context.Context, m *Method, due int64) error {
	for tries := 0; s.unflushed.Load(); tries++ {
		failed := s.waitForRoom(ctx, m, due, tries)
		switch {
		case failed == nil:
		case failed.Status == wire.StatusUnavailable:
			return failure(m, wire.StatusPeerGone, failed.cause, "the link was lost while it was sent; it may have been executed")
		default:
			return failure(m, failed.Status, failed.cause, "a part of it was not sent yet; it may be executed")
		}
	}
	return nil
}

// flushRest goes on with a flush that was cut short.
func (s *session) flushRest() {
	if s.sendMu.TryLock() {
		s.flush()
		s.sendMu.Unlock()
	}
}

// broken ends the session, whose link failed while a request was being
// written, holding the send lock but for waits.
func (s *session) broken(m *Method, err error) *Error {
	switch {
	case errors.Is(err, link.ErrTooLarge):
		return failure(m, wire.StatusTooLarge, err, "the link does not carry it")
	case errors.Is(err, link.ErrOrder):
		return failure(m, wire.StatusInternal, err, "claims are out of step")
	case errors.Is(err, link.ErrPeerGone):
		s.lose(err)
	default:
		s.die(err)
	}
	return failure(m, wire.StatusUnavailable, err, "not sent")
}

// lose has the session end behind what its server said before it went: calls
// that it has answered by then are not lost. It lets go of the send lock meanwhile.
func (s *session) lose(err error) {
	s.dead.CompareAndSwap(nil, &deadLink{err})
	s.sendMu.Unlock()
	defer s.sendMu.Lock()
	if !s.recvMu.TryLock() {
		s.bell.ring() // whoever polls finds the end
		return
	}
	s.pollRest()
	s.recvMu.Unlock()
	s.lot.promote()
}

const (
	spinsForRoom = 256
	roomPace     = 20 * time.Microsecond
	roomPaceMost = time.Millisecond
)

// waitForRoom lets go of the send lock for a while. The server may be unable
// to go on because nobody takes its answers, so the caller takes some.
func (s *session) waitForRoom(ctx context.Context, m *Method, due int64, tries int) *Error {
	s.flush()
	s.sendMu.Unlock()
	defer s.sendMu.Lock()
	if s.recvMu.TryLock() {
		s.pollOnce()
		s.recvMu.Unlock()
		s.lot.promote()
	}
	if err := ctx.Err(); err != nil {
		return failure(m, StatusOf(err), nil, "there was no room to send it; not executed")
	}
	if due != noDeadline && clock() >= due {
		return failure(m, wire.StatusDeadlineExceeded, nil, "there was no room to send it; not executed")
	}
	if d := s.dead.Load(); d != nil {
		return failure(m, wire.StatusUnavailable, d.err, "not sent")
	}
	if tries < spinsForRoom {
		sched.Pause()
	} else {
		time.Sleep(min(roomPace<<min(uint(tries-spinsForRoom)/16, 10), roomPaceMost))
	}
	return nil
}

// abandon gives up a call: its answer, should it come, is dropped. tell has the
// server hear of it.
func (s *session) abandon(p *pending, tell bool) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.withdraw(p)
	if p.answered {
		s.table.give(p)
		return
	}
	if tell && s.dead.Load() == nil {
		// As far as there is room: a server that hears nothing of it only
		// works in vain.
		if _, err := s.link.Claim(s.out[:], 0); err == nil {
			s.out[0].Header = wire.Header{Fingerprint: p.fingerprint, Correlation: p.id, Kind: wire.KindCancel, Hops: replyHops}
			if s.link.Commit(s.out[:]) == nil {
				s.flush()
			}
		}
	}
	s.table.orphan(p)
}

// settle takes the outcome of a call that is ready and frees its slot.
func (s *session) settle(p *pending) error {
	err := p.err
	if p.answered {
		s.table.give(p)
		return err
	}
	s.sendMu.Lock()
	s.table.orphan(p)
	s.sendMu.Unlock()
	return err
}

// hurry has the poller know of a deadline.
func (s *session) hurry(due int64) {
	for {
		old := s.due.Load()
		if due >= old {
			return
		}
		if s.due.CompareAndSwap(old, due) {
			s.bell.ring() // a parked poller sleeps until the old one
			return
		}
	}
}
