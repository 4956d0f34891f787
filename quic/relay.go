package quic

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
)

// RelayOptions have an endpoint pass packets on between nodes that reach it and
// not each other. Both must be let in here. It sees nothing but packets of their
// own connection, which it can't read, forge or replay, and who talks with whom.
// Zero values mean the defaults.
type RelayOptions struct {
	// MaxWaiting bounds the nodes that wait to be reached. Default: 1024.
	MaxWaiting int
	// MaxPairs bounds the pairs that are connected, and MaxPairsOfPeer those that
	// one node has called; a node may call as many a second time in as many
	// seconds. Where all pairs are taken, who has fewer than the greediest caller
	// gets one of that one's. Defaults: 64 and 8.
	MaxPairs, MaxPairsOfPeer int
	// Rate bounds the bytes per second of a pair, both directions together, and
	// Total its bytes in all. Defaults: 4 MiB and 4 GiB.
	Rate, Total int64
	// Idle is after how long without a packet that was passed on a pair ends, and Lifetime how long
	// it lasts at most. Defaults: 30 s and 1 h.
	Idle, Lifetime time.Duration
}

func (o *RelayOptions) settle() (*RelayOptions, error) {
	s := *o
	orDefault(&s.MaxWaiting, 1024)
	orDefault(&s.MaxPairs, 64)
	orDefault(&s.MaxPairsOfPeer, 8)
	orDefault(&s.Rate, 4<<20)
	orDefault(&s.Total, 4<<30)
	orDefault(&s.Idle, 30*time.Second)
	orDefault(&s.Lifetime, time.Hour)
	if s.MaxWaiting < 0 || s.MaxPairs < 0 || s.MaxPairsOfPeer < 0 || s.Rate < 0 || s.Total < 0 || s.Idle < 0 || s.Lifetime < 0 {
		return nil, errors.New("quic: Options.Relay: a limit is negative")
	}
	return &s, nil
}

// relay is what a relaying endpoint knows.
type relay struct {
	opts *RelayOptions

	mu      sync.Mutex
	waiting map[identity.ID]*waiter
	pairs   map[*relayPair]struct{}
	callers map[identity.ID]*caller
	over    bool
}

// caller is a node that has called lately.
type caller struct {
	pairs int
	calls bucket
}

// waiter is a node that waits to be reached.
type waiter struct {
	conn   *conn
	punch  bool
	writes sync.Mutex
	stream waitStream
	broken error // of a write: where the peer's reading stands isn't known
}

// waitStream is what a waiter needs of its stream.
type waitStream interface {
	io.Writer
	SetWriteDeadline(time.Time) error
	CancelWrite(quicgo.StreamErrorCode)
	CancelRead(quicgo.StreamErrorCode)
}

const (
	// relayPatience bounds how long a node may take to say or to hear a few bytes.
	relayPatience = 5 * time.Second
	// callPace is how many calls a second a node may go on making.
	callPace = 1
	// callersMost is above how many the table of callers is looked through.
	callersMost = 1024
)

func newRelay(o *RelayOptions) *relay {
	return &relay{
		opts: o, waiting: make(map[identity.ID]*waiter),
		pairs: make(map[*relayPair]struct{}), callers: make(map[identity.ID]*caller),
	}
}

var errNoRelay = errors.New("this node relays for nobody (Options.Relay)")

// acceptWait keeps a node among those that wait until its stream ends.
func (r *relay) acceptWait(c *conn, s *quicgo.Stream, punch bool) {
	w := &waiter{conn: c, stream: s, punch: punch}
	crowded, err := r.enter(c.peer.ID, w)
	if crowded {
		c.refuse(s, fmt.Sprintf("%d nodes wait to be reached (RelayOptions.MaxWaiting)", r.opts.MaxWaiting))
		return
	}
	if err == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(s, 1)) // nothing more is said
	}
	r.leave(c.peer.ID, w)
	s.CancelRead(streamCancel)
	_ = s.Close()
}

// enter puts a node among those that wait, if there is room, and tells it so.
func (r *relay) enter(id identity.ID, w *waiter) (crowded bool, err error) {
	// Whoever calls it at once is announced after this.
	w.writes.Lock()
	defer w.writes.Unlock()
	r.mu.Lock()
	_, again := r.waiting[id]
	crowded = len(r.waiting) >= r.opts.MaxWaiting && !again
	if !crowded {
		r.waiting[id] = w
	}
	r.mu.Unlock()
	if crowded {
		return true, nil
	}
	return false, w.writeLocked(appendAnswer(nil, statusAccepted, 0, 0, ""))
}

func (r *relay) leave(id identity.ID, w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[id] == w {
		delete(r.waiting, id)
	}
}

func (w *waiter) write(b []byte) error {
	w.writes.Lock()
	defer w.writes.Unlock()
	return w.writeLocked(b)
}

// writeLocked ends the stream if it can't write all of b: what comes after a part
// would be taken for its rest. The node waits anew by another stream.
func (w *waiter) writeLocked(b []byte) error {
	if w.broken != nil {
		return w.broken
	}
	_ = w.stream.SetWriteDeadline(time.Now().Add(relayPatience))
	if _, err := w.stream.Write(b); err != nil {
		w.broken = err
		w.stream.CancelWrite(streamCancel)
		w.stream.CancelRead(streamCancel)
	}
	return w.broken
}

// acceptCall connects a caller with a node that waits.
func (r *relay) acceptCall(c *conn, s *quicgo.Stream, punch bool) {
	var peer identity.ID
	_ = s.SetReadDeadline(time.Now().Add(relayPatience))
	if _, err := io.ReadFull(s, peer[:]); err != nil {
		s.CancelRead(streamCancel)
		s.CancelWrite(streamCancel)
		return
	}
	_ = s.SetReadDeadline(time.Time{})
	p, w, err := r.pair(c, peer)
	if err != nil {
		c.refuse(s, err.Error())
		return
	}
	caller, waiter := p.pass(0), p.pass(1)
	if punch && w.punch { // only those who want it learn each other's addresses
		caller.other, waiter.other = w.conn.q.RemoteAddr().String(), c.q.RemoteAddr().String()
	}
	p.endWith(c.q.Context(), w.conn.q.Context())
	go p.carry(0)
	go p.carry(1)
	if err := w.write(waiter.append(nil)); err != nil {
		p.end()
		c.refuse(s, "the node that was called has just left")
		return
	}
	_ = s.SetWriteDeadline(time.Now().Add(relayPatience))
	if _, err := s.Write(caller.append(appendAnswer(nil, statusAccepted, 0, 0, ""))); err != nil {
		p.end()
		s.CancelRead(streamCancel)
		s.CancelWrite(streamCancel)
		return
	}
	// The caller closes its half when it needs the pair no more. If its
	// connection breaks, the pair lives on until it is idle.
	if n, err := s.Read(make([]byte, 1)); n > 0 || errors.Is(err, io.EOF) {
		p.end()
	}
	s.CancelRead(streamCancel)
	_ = s.Close()
}

// pair takes a place for a caller and the node that it calls.
func (r *relay) pair(c *conn, peer identity.ID) (*relayPair, *waiter, error) {
	p, w, evicted, err := r.take(c, peer, time.Now())
	if evicted != nil {
		evicted.end()
	}
	return p, w, err
}

func (r *relay) take(c *conn, peer identity.ID, now time.Time) (p *relayPair, w *waiter, evicted *relayPair, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w = r.waiting[peer]
	k := r.caller(c.peer.ID, now)
	switch {
	case r.over:
		return nil, nil, nil, ErrClosed
	case !k.calls.take(1, now):
		return nil, nil, nil, fmt.Errorf("this node calls too often; %d calls a second are passed on", callPace)
	case w == nil || w.conn.ended():
		return nil, nil, nil, fmt.Errorf("node %s does not wait here to be reached", peer.Short())
	case k.pairs >= r.opts.MaxPairsOfPeer:
		return nil, nil, nil, fmt.Errorf("this node has called %d others (RelayOptions.MaxPairsOfPeer)", k.pairs)
	}
	if len(r.pairs) >= r.opts.MaxPairs {
		if evicted = r.greediest(k.pairs + 1); evicted == nil {
			return nil, nil, nil, fmt.Errorf("%d pairs are connected (RelayOptions.MaxPairs)", len(r.pairs))
		}
		r.remove(evicted)
	}
	p, err = r.newPair(c.peer.ID, [2]net.Addr{c.q.LocalAddr(), w.conn.q.LocalAddr()}, now)
	if err != nil {
		return nil, nil, evicted, err
	}
	r.pairs[p] = struct{}{}
	k.pairs++
	return p, w, evicted, nil
}

// caller returns what is known of a caller.
func (r *relay) caller(id identity.ID, now time.Time) *caller {
	if k := r.callers[id]; k != nil {
		return k
	}
	if len(r.callers) >= callersMost {
		for id, k := range r.callers {
			if k.pairs == 0 && k.calls.full(now) {
				delete(r.callers, id)
			}
		}
	}
	k := &caller{calls: newBucket(callPace, float64(r.opts.MaxPairsOfPeer), now)}
	r.callers[id] = k
	return k
}

// greediest returns a pair of the caller that has most, if that is more than
// fair: the one that has passed nothing on for longest. nil if nobody has.
func (r *relay) greediest(fair int) (p *relayPair) {
	most := fair
	for _, k := range r.callers {
		most = max(most, k.pairs)
	}
	if most == fair {
		return nil
	}
	for other := range r.pairs {
		if r.callers[other.caller].pairs == most && (p == nil || other.lastUse().Before(p.lastUse())) {
			p = other
		}
	}
	return p
}

// remove takes a pair out of the tables, once.
func (r *relay) remove(p *relayPair) {
	if _, there := r.pairs[p]; there {
		delete(r.pairs, p)
		r.callers[p.caller].pairs--
	}
}

func (r *relay) close() {
	r.mu.Lock()
	r.over = true
	var all []*relayPair
	for p := range r.pairs {
		all = append(all, p)
	}
	r.mu.Unlock()
	for _, p := range all {
		p.end()
	}
}

// acceptRelay answers a stream that begins as those of relaying do; false if
// this one doesn't.
func (c *conn) acceptRelay(s *quicgo.Stream, b [openingSize]byte) bool {
	what := [4]byte(b[:4])
	if what != waitMagic && what != callMagic {
		return false
	}
	r := c.endpoint.relay
	switch {
	case r == nil:
		c.refuse(s, errNoRelay.Error())
	case b[4] != relayVersion:
		c.refuse(s, fmt.Sprintf("version %d of relaying; this side speaks %d", b[4], relayVersion))
	case what == waitMagic:
		r.acceptWait(c, s, b[5] != 0)
	default:
		r.acceptCall(c, s, b[5] != 0)
	}
	return true
}
