package quic

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
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
	// MaxPairs bounds the pairs that are connected, and MaxPairsOfPeer those in
	// which one node takes part. Defaults: 64 and 8.
	MaxPairs, MaxPairsOfPeer int
	// Rate bounds the bytes per second of a pair, both directions together, and
	// Total its bytes in all. Defaults: 4 MiB and 4 GiB.
	Rate, Total int64
	// Idle is after how long without a packet a pair ends, and Lifetime how long
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
	of      map[identity.ID]int // pairs in which a node takes part
	over    bool
}

// waiter is a node that waits to be reached.
type waiter struct {
	conn   *conn
	punch  bool
	writes sync.Mutex
	stream *quicgo.Stream
}

func newRelay(o *RelayOptions) *relay {
	return &relay{opts: o, waiting: make(map[identity.ID]*waiter), pairs: make(map[*relayPair]struct{}), of: make(map[identity.ID]int)}
}

var errNoRelay = errors.New("this node relays for nobody (Options.Relay)")

// acceptWait keeps a node among those that wait until its stream ends.
func (r *relay) acceptWait(c *conn, s *quicgo.Stream, punch bool) {
	w := &waiter{conn: c, stream: s, punch: punch}
	r.mu.Lock()
	_, again := r.waiting[c.peer.ID]
	crowded := len(r.waiting) >= r.opts.MaxWaiting && !again
	if !crowded {
		r.waiting[c.peer.ID] = w
	}
	r.mu.Unlock()
	if crowded {
		c.refuse(s, fmt.Sprintf("%d nodes wait to be reached (RelayOptions.MaxWaiting)", r.opts.MaxWaiting))
		return
	}
	if w.write(appendAnswer(nil, statusAccepted, 0, 0, "")) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(s, 1)) // nothing more is said
	}
	r.mu.Lock()
	if r.waiting[c.peer.ID] == w {
		delete(r.waiting, c.peer.ID)
	}
	r.mu.Unlock()
	s.CancelRead(streamCancel)
	_ = s.Close()
}

func (w *waiter) write(b []byte) error {
	w.writes.Lock()
	defer w.writes.Unlock()
	_ = w.stream.SetWriteDeadline(time.Now().Add(laneWait))
	_, err := w.stream.Write(b)
	return err
}

// acceptCall connects a caller with a node that waits.
func (r *relay) acceptCall(c *conn, s *quicgo.Stream, punch bool) {
	var peer identity.ID
	_ = s.SetReadDeadline(time.Now().Add(laneWait))
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
	go p.carry(0)
	go p.carry(1)
	if err := w.write(waiter.append(nil)); err != nil {
		p.end()
		c.refuse(s, "the node that was called has just left")
		return
	}
	if _, err := s.Write(caller.append(appendAnswer(nil, statusAccepted, 0, 0, ""))); err != nil {
		p.end()
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

// pair takes places for a caller and the node that it calls.
func (r *relay) pair(c *conn, peer identity.ID) (*relayPair, *waiter, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.waiting[peer]
	ids := [2]identity.ID{c.peer.ID, peer}
	switch {
	case r.over:
		return nil, nil, ErrClosed
	case w == nil || w.conn.ended():
		return nil, nil, fmt.Errorf("node %s does not wait here to be reached", peer.Short())
	case len(r.pairs) >= r.opts.MaxPairs:
		return nil, nil, fmt.Errorf("%d pairs are connected (RelayOptions.MaxPairs)", len(r.pairs))
	case r.of[ids[0]] >= r.opts.MaxPairsOfPeer || r.of[ids[1]] >= r.opts.MaxPairsOfPeer:
		return nil, nil, fmt.Errorf("one of the two takes part in %d pairs (RelayOptions.MaxPairsOfPeer)", r.opts.MaxPairsOfPeer)
	}
	p := &relayPair{relay: r, ids: ids, ends: time.Now().Add(r.opts.Lifetime), spare: r.opts.Rate / 4, filled: time.Now()}
	for i, c := range []*conn{c, w.conn} {
		if err := p.open(i, c); err != nil {
			return nil, nil, errors.Join(errors.New("no socket for another pair"), p.shut())
		}
	}
	r.pairs[p] = struct{}{}
	r.of[ids[0]]++
	r.of[ids[1]]++
	return p, w, nil
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

// relayPair passes the packets of two nodes on. Each has a socket of its own, at
// the address at which it reaches the relay, and says where it is by a token,
// again and again, so that it may move.
type relayPair struct {
	relay *relay
	ids   [2]identity.ID
	sides [2]relaySide
	ends  time.Time
	once  sync.Once

	mu      sync.Mutex
	spare   int64 // bytes that may be passed on now
	filled  time.Time
	carried int64
	last    time.Time // that something was
	over    bool
}

type relaySide struct {
	socket *net.UDPConn
	token  relayToken
	addr   atomic.Pointer[netip.AddrPort] // nil until it has said so
}

type relayToken [16]byte

// open makes the side of a node that is connected by c.
func (p *relayPair) open(side int, c *conn) (err error) {
	s := &p.sides[side]
	at := c.q.LocalAddr().(*net.UDPAddr)
	if s.socket, err = net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Zone: at.Zone}); err != nil {
		return err
	}
	_, err = rand.Read(s.token[:])
	return err
}

func (p *relayPair) shut() (err error) {
	for i := range p.sides {
		if s := p.sides[i].socket; s != nil {
			err = errors.Join(err, s.Close())
		}
	}
	return err
}

func (p *relayPair) pass(side int) pass {
	s := &p.sides[side]
	return pass{port: uint16(s.socket.LocalAddr().(*net.UDPAddr).Port), token: s.token}
}

// carry passes on what one side sends, until the pair ends.
func (p *relayPair) carry(side int) {
	defer p.end()
	from, to := &p.sides[side], &p.sides[1-side]
	b := make([]byte, maxDatagram)
	for {
		if from.socket.SetReadDeadline(earlierOf(time.Now().Add(p.relay.opts.Idle), p.ends)) != nil {
			return
		}
		n, sender, err := from.socket.ReadFromUDPAddrPort(b)
		if err != nil {
			if p.isIdle() {
				return
			}
			continue
		}
		if from.isBind(b[:n]) {
			from.addr.Store(&sender)
			continue
		}
		at, known := to.addr.Load(), from.addr.Load()
		if at == nil || known == nil || *known != sender {
			continue
		}
		if goes, over := p.afford(int64(n)); over {
			return
		} else if goes {
			_, _ = to.socket.WriteToUDPAddrPort(b[:n], *at)
		}
	}
}

// maxDatagram is more than QUIC's packets have on any path.
const maxDatagram = 64 << 10

func earlierOf(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// isBind reports whether the side says where it is.
func (s *relaySide) isBind(b []byte) bool {
	return len(b) == bindSize && [4]byte(b[:4]) == bindMagic && subtle.ConstantTimeCompare(b[4:], s.token[:]) == 1
}

// isIdle reports whether the pair has passed nothing on for too long, or lived
// long enough, or been closed.
func (p *relayPair) isIdle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	return p.over || !now.Before(p.ends) || now.Sub(p.last) >= p.relay.opts.Idle
}

// afford takes n bytes from what the rate allows, a bucket of a quarter second,
// and says whether they may go, or everything is used up.
func (p *relayPair) afford(n int64) (goes, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, now := p.relay.opts, time.Now()
	p.spare = min(p.spare+int64(now.Sub(p.filled).Seconds()*float64(o.Rate)), max(o.Rate/4, maxDatagram))
	p.filled = now
	if p.spare < n {
		return false, false // lost, and the senders slow down
	}
	p.spare -= n
	p.carried += n
	p.last = now
	return true, p.carried > o.Total
}

// end ends the pair, once.
func (p *relayPair) end() {
	p.once.Do(func() {
		p.mu.Lock()
		p.over = true
		p.mu.Unlock()
		_ = p.shut()
		r := p.relay
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.pairs, p)
		for _, id := range p.ids {
			if r.of[id]--; r.of[id] == 0 {
				delete(r.of, id)
			}
		}
	})
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
	case b[4] != protocolVersion:
		c.refuse(s, fmt.Sprintf("version %d of relaying; this side speaks %d", b[4], protocolVersion))
	case what == waitMagic:
		r.acceptWait(c, s, b[5] != 0)
	default:
		r.acceptCall(c, s, b[5] != 0)
	}
	return true
}

// pass is what lets a node through a relay, to one other.
type pass struct {
	port  uint16
	token relayToken
	other string // the other's address as the relay sees it; empty if it may not be told
}

// The first bytes of streams and packets. What begins with two bits 0 is no
// packet of QUIC's (RFC 9443).
var (
	waitMagic = [4]byte{'R', 'L', 'Y', 'W'}
	callMagic = [4]byte{'R', 'L', 'Y', 'C'}
	bindMagic = [4]byte{0, 'R', 'L', 'Y'}
	punchOnly = []byte{0, 'P', 'C', 'H'}
)

const (
	bindSize = 4 + len(relayToken{})
	passHead = 2 + len(relayToken{}) + 1
)

func (p pass) append(b []byte) []byte {
	b = append(b, byte(p.port), byte(p.port>>8))
	b = append(b, p.token[:]...)
	return append(append(b, byte(len(p.other))), p.other...)
}

func readPass(r io.Reader) (p pass, err error) {
	var b [passHead]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return p, err
	}
	other := make([]byte, b[passHead-1])
	if _, err := io.ReadFull(r, other); err != nil {
		return p, err
	}
	p.port, p.other = uint16(b[0])|uint16(b[1])<<8, string(other)
	copy(p.token[:], b[2:])
	return p, nil
}

func relayHead(magic [4]byte, punch bool) []byte {
	b := make([]byte, openingSize)
	copy(b, magic[:])
	b[4] = protocolVersion
	if punch {
		b[5] = 1
	}
	return b
}

// readVerdict reads the answer to a request for relaying.
func readVerdict(ctx context.Context, s *quicgo.Stream) error {
	stop := context.AfterFunc(ctx, func() { s.CancelRead(streamCancel) })
	defer stop()
	var b [answerSize]byte
	if _, err := io.ReadFull(s, b[:]); err != nil {
		return err
	}
	text := make([]byte, b[1])
	if _, err := io.ReadFull(s, text); err != nil {
		return err
	}
	if b[0] != statusAccepted {
		return fmt.Errorf("%w: %s", ErrRefused, printable(text))
	}
	return nil
}
