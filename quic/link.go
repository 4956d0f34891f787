package quic

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// Link is one end of a path of vesicles to a peer on another host. It is a
// [link.Link]: the rules of that package say who may call what.
type Link struct {
	send    sender
	receive receiver
	space   bell

	carrier carrier
	lanes   [maxLane]lane
	count   int // of lanes in use
	lossy   *datagrams
	backlog *allowance // of all links of the peer; nil: only lanes have a bound

	info    link.Info
	peer    identity.Peer
	relayed bool

	state atomic.Int32
	cause atomic.Pointer[error] // why the peer's end is gone

	arrivals arrivals
	linger   time.Duration
	finished chan struct{} // closed when what was flushed has arrived, or can't
	finish   sync.Once
}

// carrier is what a link needs of the connection beneath it.
type carrier interface {
	// openLane returns the stream of a lane that is used for the first time, and
	// what it begins with; or errNoStream, and then the link's space is rung when
	// there is one.
	openLane(index int) (s sendStream, head []byte, err error)
	// giveCredit tells the peer that it may send so much more. It doesn't block.
	giveCredit(n int64)
	// sayFarewell tells the peer that so many lanes were used and have ended. It
	// doesn't block.
	sayFarewell(lanes int)
	// sayReceived tells the peer that everything up to its farewell arrived. It
	// doesn't block.
	sayReceived()
	// acknowledged is closed when the peer has said so, or can't any more.
	acknowledged() <-chan struct{}
	// stopReading makes the lanes' readers end.
	stopReading()
	// release is called once, when the link is done with the carrier.
	release()
}

var _ link.Fed = (*Link)(nil)

const (
	stateOpen int32 = iota
	stateShut
	stateClosed
)

// The lanes. Those of the application come last.
const (
	laneConsensus   = 0
	laneOperations  = 1
	laneApplication = 2
	maxLane         = laneApplication + maxLanes
	laneDatagram    = maxLane // no stream; below 64 for sender.push
)

// newLink makes a link that is not connected to anything yet.
func newLink(o *Options, maxPayload, lanes int) (*Link, error) {
	l := &Link{count: lanes, linger: o.Linger, finished: make(chan struct{})}
	l.arrivals.link, l.arrivals.expected = l, -1
	for i := range l.lanes {
		l.lanes[i].link = l
	}
	l.send = sender{link: l, max: maxPayload, buf: make([]byte, 2*(maxPayload+frameSize))}
	if err := l.receive.open(o.Receive, maxPayload); err != nil {
		return nil, err
	}
	l.receive.quota = int64(creditOf(o.Receive, maxPayload) / 4)
	if err := l.space.open(); err != nil {
		return nil, errors.Join(err, l.receive.close())
	}
	return l, nil
}

// laneOf says in which lane a vesicle travels. All vesicles of a call have the
// same, and so have those of a topic or a one-way method, which have no
// correlation.
func (l *Link) laneOf(h *wire.Header) int {
	if l.lossy != nil && isDatagram(h) {
		return laneDatagram
	}
	if l.count == 1 {
		return 0
	}
	switch h.Channel {
	case wire.ChannelConsensus:
		return laneConsensus
	case wire.ChannelOperations, wire.ChannelDiscovery:
		// An event that belongs to a call goes before it: a trace.
		if h.Kind != wire.KindEvent || h.Correlation == 0 {
			return laneOperations
		}
	}
	n := h.Correlation
	if n == 0 {
		n = uint32(h.Fingerprint) ^ uint32(h.Fingerprint>>32)
	}
	return laneApplication + int(n%uint32(l.count))
}

// isDatagram reports whether a link with lossy events sends this as one.
func isDatagram(h *wire.Header) bool {
	return h.Kind == wire.KindEvent && h.Flags&wire.FlagFragment == 0 && h.Length <= datagramMost
}

// give hands frames to a lane, which opens with the first.
func (l *Link) give(index int, frames []byte) bool {
	if index == laneDatagram {
		l.lossy.push(frames)
		return true
	}
	n := &l.lanes[index]
	if n.stream == nil {
		if err := l.openLane(n, index); err != nil {
			return !errors.Is(err, errNoStream) // true: the link has ended
		}
	}
	return n.push(frames)
}

// openLane opens a lane. With errNoStream there is no room in it yet.
func (l *Link) openLane(n *lane, index int) error {
	s, head, err := l.carrier.openLane(index)
	if err != nil {
		if !errors.Is(err, errNoStream) {
			l.lost(fmt.Errorf("no stream for another lane: %w", err))
		}
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing || n.failed { // shut down meanwhile
		s.Abandon()
		return link.ErrClosed
	}
	n.stream = s
	if len(head) > 0 {
		n.pushLocked(head) // there is always room for the first
	}
	return nil
}

// Info implements [link.Link]. Kind is "quic" or "tls".
func (l *Link) Info() link.Info { return l.info }

// Peer says who the other end is and why it was let in.
func (l *Link) Peer() identity.Peer { return l.peer }

// Relayed reports whether a relay stands between.
func (l *Link) Relayed() bool { return l.relayed }

// sendFailed says why the outgoing half no longer works; nil if it does.
func (l *Link) sendFailed() error {
	if l.state.Load() != stateOpen {
		return link.ErrClosed
	}
	if c := l.cause.Load(); c != nil {
		return *c
	}
	return nil
}

// Claim implements [link.Sender].
func (l *Link) Claim(out []wire.Vesicle, size int) (int, error) { return l.send.claim(out, size) }

// Commit implements [link.Sender].
func (l *Link) Commit(vs []wire.Vesicle) error {
	if l.state.Load() == stateClosed {
		return link.ErrClosed
	}
	return l.send.commit(vs)
}

// Abort implements [link.Sender].
func (l *Link) Abort() {
	if l.state.Load() != stateClosed {
		l.send.abort()
	}
}

// Flush implements [link.Sender]. It makes no system call and never waits.
func (l *Link) Flush() error { return l.send.flush() }

// SendStats implements [link.Sender].
func (l *Link) SendStats() link.Stats {
	s := l.send.stats
	if l.lossy != nil {
		s.Dropped = l.lossy.dropped
	}
	return s
}

// Poll implements [link.Receiver].
func (l *Link) Poll(in []wire.Vesicle) (int, error) {
	if l.state.Load() != stateOpen {
		return 0, link.ErrClosed
	}
	n, err := l.receive.poll(in)
	if err != nil {
		return 0, l.why(err)
	}
	l.receive.costs.put(in[:n], l.lossy != nil)
	return n, nil
}

func (l *Link) why(err error) error {
	if l.state.Load() != stateOpen {
		return link.ErrClosed
	}
	if c := l.cause.Load(); c != nil {
		return *c
	}
	return err
}

// Release implements [link.Receiver].
func (l *Link) Release(n int) error {
	if l.state.Load() == stateClosed {
		return link.ErrClosed
	}
	if err := l.receive.release(n); err != nil {
		return err
	}
	if l.receive.owed >= l.receive.quota {
		l.carrier.giveCredit(l.receive.owed)
		l.receive.owed = 0
	}
	return nil
}

// ReceiveStats implements [link.Receiver].
func (l *Link) ReceiveStats() link.Stats {
	s := l.receive.out.Stats()
	return link.Stats{
		Vesicles: s.Records, Bytes: s.Bytes, Flushes: s.Flushes, Wakes: s.Wakes,
		Dropped: l.receive.dropped.Load(), Corrupt: uint64(l.receive.corrupt.Load()),
	}
}

// credit notes that the peer has released so much. A peer that gives more than
// it can have taken harms its own ring.
func (l *Link) credit(n uint32) {
	l.send.granted.Add(int64(n))
	l.space.notify()
}

// CheckPeer implements [link.Link], without a system call: the connection's own
// goroutines notice its end.
func (l *Link) CheckPeer() error { return l.sendFailed() }

// Shutdown implements [link.Link]. What was flushed is still sent, for at most
// Options.Linger.
func (l *Link) Shutdown() {
	if !l.state.CompareAndSwap(stateOpen, stateShut) {
		return
	}
	l.receive.stop(false)
	l.space.ring()
	// Nobody polls any more, so the lanes are not read either.
	l.receive.shut()
	l.arrivals.abandon() // before readers find their streams canceled
	l.carrier.stopReading()
	l.leave()
}

// leave ends the outgoing lanes behind what was flushed, in the background.
func (l *Link) leave() {
	l.finish.Do(func() { go l.sayGoodbye() })
}

func (l *Link) sayGoodbye() {
	defer close(l.finished)
	patience := time.NewTimer(l.linger)
	defer patience.Stop()
	used := 0
	for i := range l.lanes {
		n := &l.lanes[i]
		done := n.close()
		n.mu.Lock()
		if n.stream != nil {
			used++
		}
		n.mu.Unlock()
		select {
		case <-done:
		case <-patience.C:
			patience.Reset(0)
			n.abandon()
		}
	}
	l.carrier.sayFarewell(used)
	select {
	case <-l.carrier.acknowledged():
	case <-patience.C:
	}
	l.carrier.release()
}

// Close implements [link.Link]. It doesn't wait for what Shutdown leaves to do.
func (l *Link) Close() error {
	l.Shutdown()
	if l.state.Swap(stateClosed) == stateClosed {
		return nil
	}
	return errors.Join(l.receive.close(), l.space.close())
}

// lost notes that the connection has ended without a farewell. What has arrived
// is still polled.
func (l *Link) lost(why error) {
	if !errors.Is(why, link.ErrPeerGone) {
		why = fmt.Errorf("%w: %w", link.ErrPeerGone, why)
	}
	l.cause.CompareAndSwap(nil, &why)
	l.arrivals.lose()
}

// breached notes that the peer broke the protocol. Nothing it sent counts any
// more.
func (l *Link) breached(why error) {
	l.cause.CompareAndSwap(nil, &why)
	l.stop(false)
	l.leave()
}

// stop ends the incoming half and wakes whoever sleeps.
func (l *Link) stop(gone bool) {
	l.receive.mu.Lock() // not behind Close, which frees the ring
	if !l.receive.closed {
		l.receive.stop(gone)
	}
	l.receive.mu.Unlock()
	l.space.ring()
}

// arrivals knows which lanes of the peer have come and ended, and so when
// everything is there.
type arrivals struct {
	link *Link

	mu       sync.Mutex
	seen     [maxLane]bool
	running  int
	ended    int
	expected int // by the peer's farewell; -1 before that
	dead     bool
	left     bool // this side takes nothing more
	over     bool
}

// begin notes that a lane has come. It returns false if it can't be: there is
// no such lane, or it was there before.
func (a *arrivals) begin(index int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if index < 0 || index >= maxLane || a.seen[index] || a.over {
		return false
	}
	a.seen[index] = true
	a.running++
	return true
}

// end notes how the reader of a lane has ended.
func (a *arrivals) end(err error) {
	a.mu.Lock()
	a.running--
	a.ended++
	left := a.left
	a.mu.Unlock()
	switch {
	case left: // its reading was stopped from here; the peer is told at its farewell
	case err == nil || errors.Is(err, link.ErrClosed):
	case errors.Is(err, link.ErrCorrupt):
		a.link.breached(err)
	default:
		a.link.lost(err)
		return
	}
	a.review()
}

// farewell notes that the peer sends nothing beyond so many lanes.
func (a *arrivals) farewell(lanes int) {
	a.mu.Lock()
	a.expected = lanes
	a.mu.Unlock()
	a.review()
}

func (a *arrivals) lose() {
	a.mu.Lock()
	a.dead = true
	a.mu.Unlock()
	a.review()
}

// abandon: this side takes nothing more, so the peer need not wait.
func (a *arrivals) abandon() {
	a.mu.Lock()
	a.left = true
	a.mu.Unlock()
	a.review()
}

var errFarewell = fmt.Errorf("%w: it closed the link", link.ErrPeerGone)

// review ends the incoming half when all is there that will ever be.
func (a *arrivals) review() {
	a.mu.Lock()
	orderly := a.expected >= 0 && (a.ended >= a.expected || a.left)
	if a.over || !orderly && (!a.dead || a.running > 0) {
		a.mu.Unlock()
		return
	}
	a.over = true
	a.mu.Unlock()
	l := a.link
	l.cause.CompareAndSwap(nil, &errFarewell)
	if orderly {
		l.carrier.sayReceived()
	}
	l.stop(true)
}
