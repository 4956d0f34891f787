package quic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// conn is the connection to one peer, which all links to it share.
type conn struct {
	endpoint *Endpoint
	q        *quicgo.Conn
	peer     identity.Peer
	dialed   bool // by this side
	how           // it came about
	born     time.Time
	vigil    vigil

	mu    sync.Mutex
	links map[uint64]*quicLink
}

// quicLink is a link's place in its connection: the carrier.
type quicLink struct {
	conn    *conn
	link    *Link
	number  uint64
	control *quicgo.Stream
	outbox  outbox // of the control stream
	grants  grants // of streams for lanes

	mu      sync.Mutex // of reading
	reading []*quicgo.ReceiveStream
	stopped bool
	acked   chan struct{}
	ackOnce sync.Once
}

func newConn(e *Endpoint, q *quicgo.Conn, p identity.Peer) *conn {
	c := &conn{endpoint: e, q: q, peer: p, born: time.Now(), links: make(map[uint64]*quicLink)}
	c.vigil = vigil{trust: e.trust, state: q.ConnectionState().TLS, end: func(why error) { c.end(codeRevoked, why.Error()) }}
	return c
}

// serve takes what the peer opens until the connection ends.
func (c *conn) serve() {
	// Once more, now that the endpoint knows the connection: rules may have
	// changed since the peer was let in.
	c.vigil.check()
	go c.acceptLanes()
	go c.acceptDatagrams()
	for {
		s, err := c.q.AcceptStream(c.q.Context())
		if err != nil {
			break
		}
		go c.acceptLink(s)
	}
	c.vigil.stop()
	c.endpoint.forget(c)
}

// end closes the connection, with a reason for the peer.
func (c *conn) end(code quicgo.ApplicationErrorCode, text string) {
	_ = c.q.CloseWithError(code, text[:min(len(text), maxText)])
}

func (c *conn) ended() bool { return c.q.Context().Err() != nil }

// endsBy reports whether err is the connection's end, for which it waits: the
// streams learn of it a moment earlier.
func (c *conn) endsBy(ctx context.Context, err error) bool {
	var (
		app   *quicgo.ApplicationError
		idle  *quicgo.IdleTimeoutError
		reset *quicgo.StatelessResetError
		lower *quicgo.TransportError
	)
	if !errors.As(err, &app) && !errors.As(err, &idle) && !errors.As(err, &reset) && !errors.As(err, &lower) {
		return c.ended()
	}
	select {
	case <-c.q.Context().Done():
		return true
	case <-ctx.Done():
		return false
	}
}

// open opens a link.
func (c *conn) open(ctx context.Context, o LinkOptions) (*Link, error) {
	s, err := c.q.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	opts := c.endpoint.opts
	first := opening{lanes: o.Lanes, lossy: o.LossyEvents, maxPayload: opts.MaxPayload, credit: creditOf(opts.Receive, opts.MaxPayload)}
	c.endpoint.takeLink(c.peer.ID, 0) // this side's own affair
	l, err := c.newLink(s, first)
	if err != nil {
		c.endpoint.giveLink(c.peer.ID)
		s.CancelRead(streamCancel)
		s.CancelWrite(streamCancel)
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.CancelRead(streamCancel) })
	_, err = s.Write(first.append(nil))
	agreed, credit := 0, 0
	if err == nil {
		agreed, credit, err = readAnswer(s, opts.MaxPayload)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		l.forsake()
		s.CancelRead(streamCancel)
		s.CancelWrite(streamCancel)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	l.settle(agreed, credit)
	go l.attend()
	return l.link, nil
}

// newLink makes a link of this connection, which was counted, and lets its
// lanes in.
func (c *conn) newLink(s *quicgo.Stream, o opening) (*quicLink, error) {
	l, err := newLink(c.endpoint.opts, o.maxPayload, o.lanes)
	if err != nil {
		return nil, err
	}
	q := &quicLink{conn: c, link: l, number: uint64(s.StreamID()), control: s, acked: make(chan struct{})}
	q.outbox.stream = controlStream{s}
	l.carrier, l.peer, l.backlog = q, c.peer, c.endpoint.backlogOf(c.peer.ID)
	if o.lossy {
		l.lossy = newDatagrams(c.q, q.number)
	}
	l.info = link.Info{
		Kind: "quic", Peer: link.Peer{ID: c.peer.ID.String(), Addr: c.q.RemoteAddr().String()},
		Ordered: o.lanes == 1 && !o.lossy, Reliable: !o.lossy,
	}
	if l.relayed = c.relayed(); l.relayed {
		l.info.Why = append(l.info.Why, "all packets go by the relay "+c.via+", since no direct way to the node was found")
	}
	q.settle(o.maxPayload, o.credit)
	s.SetPriority(urgencyControl, false)
	c.mu.Lock()
	c.links[q.number] = q
	c.mu.Unlock()
	return q, nil
}

// settle notes the most payload that was agreed on, and what may be sent before
// the peer gives more credit.
func (q *quicLink) settle(maxPayload, credit int) {
	q.link.info.MaxPayload = maxPayload
	q.link.send.max = maxPayload
	q.link.send.granted.Store(int64(credit))
}

// forsake ends a link that has never been one.
func (q *quicLink) forsake() {
	q.ackOnce.Do(func() { close(q.acked) })
	q.outbox.close()
	_ = q.link.Close()
	q.conn.drop(q)
}

func (c *conn) drop(q *quicLink) {
	c.mu.Lock()
	counted := c.links[q.number] == q
	delete(c.links, q.number)
	c.mu.Unlock()
	if counted {
		c.endpoint.giveLink(c.peer.ID)
	}
	if c.own {
		c.end(codeClosed, "its link has ended")
	}
}

// acceptLink answers an opening.
func (c *conn) acceptLink(s *quicgo.Stream) {
	_ = s.SetReadDeadline(time.Now().Add(c.endpoint.opts.HandshakeTimeout))
	var b [openingSize]byte
	if _, err := io.ReadFull(s, b[:]); err != nil {
		s.CancelRead(streamCancel)
		s.CancelWrite(streamCancel)
		return
	}
	_ = s.SetReadDeadline(time.Time{})
	if c.acceptRelay(s, b) {
		return
	}
	o, err := parseOpening(b)
	if err != nil {
		c.refuse(s, err.Error())
		return
	}
	if !c.endpoint.takeLink(c.peer.ID, c.endpoint.opts.MaxLinks) {
		c.refuse(s, fmt.Sprintf("%d links of this peer are open (Options.MaxLinks)", c.endpoint.opts.MaxLinks))
		return
	}
	o.maxPayload = min(o.maxPayload, c.endpoint.opts.MaxPayload)
	q, err := c.newLink(s, o)
	if err != nil {
		c.endpoint.giveLink(c.peer.ID)
		c.refuse(s, "no memory for another link")
		return
	}
	if !c.endpoint.offer(q.link, func() {
		q.outbox.sayAnswer(appendAnswer(nil, statusAccepted, o.maxPayload, creditOf(c.endpoint.opts.Receive, o.maxPayload), ""))
	}) {
		q.forsake()
		c.refuse(s, "too many links wait to be accepted (Options.MaxPending)")
		return
	}
	q.attend()
}

func (c *conn) refuse(s *quicgo.Stream, text string) {
	c.endpoint.refusals.add(c.q.RemoteAddr().String(), errors.New(text))
	_, _ = s.Write(appendAnswer(nil, statusRefused, 0, 0, text))
	s.CancelRead(streamCancel)
	_ = s.Close()
}

// acceptLanes takes the peer's lanes. None waits for another: one whose first
// bytes were lost, or which the peer has not got round to, holds up nobody. Those
// that have not said yet whose they are are bounded by what an honest peer has at
// most, over all of its connections.
func (c *conn) acceptLanes() {
	for {
		s, err := c.q.AcceptUniStream(c.q.Context())
		if err != nil {
			return
		}
		if !c.endpoint.takeHead(c.peer.ID) {
			c.end(codeTooMany, "too many lanes that do not say whose they are")
			return
		}
		go c.acceptLane(s)
	}
}

func (c *conn) acceptLane(s *quicgo.ReceiveStream) {
	var b [laneHeadSize]byte
	_, err := io.ReadFull(s, b[:])
	c.endpoint.giveHead(c.peer.ID)
	var q *quicLink
	if err == nil {
		// The opener of a link sends nothing in lanes before the answer, and by
		// then both know it: a link that isn't there has gone, or never was.
		c.mu.Lock()
		q = c.links[binary.LittleEndian.Uint64(b[:])]
		c.mu.Unlock()
	}
	if q == nil || !q.link.arrivals.begin(int(b[8])) {
		s.CancelRead(streamCancel)
		return
	}
	if !q.read(s) {
		q.link.arrivals.end(nil)
		return
	}
	q.link.arrivals.end(gone(q.link.receive.read(s)))
	s.CancelRead(streamCancel) // harmless where it has ended
}

// acceptDatagrams hands events that came as datagrams to their links.
func (c *conn) acceptDatagrams() {
	for {
		b, err := c.q.ReceiveDatagram(c.q.Context())
		if err != nil {
			return
		}
		if len(b) < datagramHead+frameSize {
			continue
		}
		c.mu.Lock()
		q := c.links[binary.LittleEndian.Uint64(b)]
		c.mu.Unlock()
		if q == nil || q.link.lossy == nil {
			continue
		}
		b = b[datagramHead:]
		h, err := wire.Decode(b)
		if err != nil || h.Kind != wire.KindEvent || int(h.Length) != len(b)-frameSize || int(h.Length) > q.link.receive.max {
			q.link.receive.corrupt.Add(1)
			continue
		}
		q.link.receive.offer([]wire.Vesicle{{Header: h, Payload: b[frameSize:]}})
	}
}

// gone turns an error of quic-go into one that a link's user understands.
func gone(err error) error {
	if err == nil || errors.Is(err, link.ErrCorrupt) || errors.Is(err, link.ErrClosed) {
		return err
	}
	var app *quicgo.ApplicationError
	if errors.As(err, &app) && app.Remote {
		return fmt.Errorf("%w: it ended the connection: %s", link.ErrPeerGone, printable([]byte(app.ErrorMessage)))
	}
	var idle *quicgo.IdleTimeoutError
	if errors.As(err, &idle) {
		return fmt.Errorf("%w: no sign of life: %w", link.ErrPeerGone, err)
	}
	return fmt.Errorf("%w: %w", link.ErrPeerGone, err)
}
