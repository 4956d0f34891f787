package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
)

// Endpoint is a UDP socket over which a node reaches others and is reached by
// them. All methods may be called by any goroutine.
type Endpoint struct {
	opts        *Options
	credentials *identity.Credentials
	trust       *identity.Trust

	socket    *net.UDPConn
	transport *quicgo.Transport
	listener  *quicgo.Listener
	config    *quicgo.Config
	gate      gate
	relay     *relay // nil: it relays for nobody
	passes    passings
	stopWatch func()
	refusals  refusals

	accepted chan *Link
	closed   chan struct{}
	closing  sync.Once

	dialing sync.Mutex // of adopt, before mu

	mu    sync.Mutex
	conns map[*conn]struct{}
	peers map[identity.ID]*conn // the connection that new links take
	links map[identity.ID]int   // how many, over all connections of a peer
	heads map[identity.ID]int   // lanes that have not said whose they are, likewise
	held  map[identity.ID]*allowance
	calls map[string]*call // dialing in progress, by address and peer
	moved []movedTo        // sockets after the first, the latest last

	tickets tls.ClientSessionCache
	shown   *tls.Certificate // in the sessions of which tickets tells
}

// call is a connection that is being made, for everybody who wants it.
type call struct {
	done  chan struct{}
	conn  *conn
	fresh bool
	err   error
}

// Listen opens a UDP socket at addr ("host:port", or "" for a port of the
// kernel's choice on all addresses) for being reached and for dialing.
func Listen(addr string, c *identity.Credentials, t *identity.Trust, o *Options) (*Endpoint, error) {
	opts, err := o.settle()
	if err != nil {
		return nil, err
	}
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("quic: address %q: %w; write host:port or :port", addr, err)
	}
	if addr == "" {
		at = nil
	}
	socket, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, fmt.Errorf("quic: %w", err)
	}
	e := &Endpoint{
		opts: opts, credentials: c, trust: t, socket: socket,
		accepted: make(chan *Link, opts.MaxPending), closed: make(chan struct{}),
		conns: make(map[*conn]struct{}), peers: make(map[identity.ID]*conn), links: make(map[identity.ID]int),
		heads: make(map[identity.ID]int), held: make(map[identity.ID]*allowance), calls: make(map[string]*call),
	}
	if err := e.start(); err != nil {
		socket.Close()
		return nil, err
	}
	return e, nil
}

func (e *Endpoint) start() (err error) {
	e.gate.open(e.opts)
	e.refusals.tell = e.opts.Refused
	e.gate.passes = &e.passes
	if e.opts.Relay != nil {
		e.relay = newRelay(e.opts.Relay)
	}
	e.transport = e.newTransport(e.socket)
	e.transport.VerifySourceAddress = e.gate.suspicious
	e.transport.ConnContext = e.gate.enter
	e.config = e.newConfig()
	protocols := []string{ALPN}
	if e.opts.Enrol != nil {
		protocols = append(protocols, ALPNEnrol)
	}
	e.listener, err = e.transport.Listen(identity.DeferredServerTLS(e.credentials, protocols...), e.config)
	if err != nil {
		return fmt.Errorf("quic: %w", err)
	}
	e.stopWatch = e.trust.Watch(e.recheck)
	go e.listen()
	return nil
}

// newTransport wraps a socket. Reading by batches, GSO, ECN and the MTU's
// discovery are quic-go's affair, which it begins by the socket's type.
func (e *Endpoint) newTransport(socket *net.UDPConn) *quicgo.Transport {
	return &quicgo.Transport{Conn: socket, ConnectionIDLength: 8}
}

func (e *Endpoint) newConfig() *quicgo.Config {
	o := e.opts
	return &quicgo.Config{
		HandshakeIdleTimeout:           o.HandshakeTimeout,
		MaxIdleTimeout:                 o.IdleTimeout,
		KeepAlivePeriod:                o.IdleTimeout / 3,
		InitialStreamReceiveWindow:     firstStream,
		MaxStreamReceiveWindow:         uint64(o.StreamWindow),
		InitialConnectionReceiveWindow: firstConnection,
		MaxConnectionReceiveWindow:     uint64(o.ConnectionWindow),
		AllowConnectionWindowIncrease:  e.gate.allowGrowth,
		MaxIncomingStreams:             int64(o.MaxLinks) + 1, // one to be refused on
		MaxIncomingUniStreams:          int64(o.MaxLinks) * maxLane,
		EnableDatagrams:                true,
		Allow0RTT:                      false, // see docs/QUIC.md
	}
}

// Addr is where the endpoint is reached.
func (e *Endpoint) Addr() *net.UDPAddr { return e.socket.LocalAddr().(*net.UDPAddr) }

func (e *Endpoint) listen() {
	for {
		q, err := e.listener.Accept(context.Background())
		if err != nil {
			return
		}
		go e.admit(q)
	}
}

// admit decides about a peer whose handshake is over. Nothing it has sent was
// looked at so far.
func (e *Endpoint) admit(q *quicgo.Conn) {
	defer e.gate.leave(q.Context())
	if q.ConnectionState().TLS.NegotiatedProtocol == ALPNEnrol {
		e.enrol(q)
		return
	}
	p, err := e.trust.CheckConnection(q.ConnectionState().TLS, ALPN)
	if err != nil {
		e.refusals.add(q.RemoteAddr().String(), err)
		text := err.Error()
		_ = q.CloseWithError(codeRefused, text[:min(len(text), maxText)])
		return
	}
	c := newConn(e, q, p)
	if from, ok := e.passes.find(q.RemoteAddr()); ok {
		c.via = from.via
	}
	if err := e.remember(c); err != nil {
		e.refusals.add(q.RemoteAddr().String(), err)
		c.end(codeTooMany, err.Error())
		return
	}
	go c.serve()
}

// shared reports whether links that ask for nothing else take this connection.
func (h how) shared() bool { return !h.own && !h.relayed() }

// remember takes a connection among those that count.
func (e *Endpoint) remember(c *conn) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.closed:
		return ErrClosed
	default:
	}
	if len(e.conns) >= e.opts.MaxConnections {
		return fmt.Errorf("%d connections are open (Options.MaxConnections)", len(e.conns))
	}
	of := 0
	for other := range e.conns {
		if other.peer.ID == c.peer.ID {
			of++
		}
	}
	if of >= peerConnections {
		return fmt.Errorf("%d connections of this peer are open", of)
	}
	e.conns[c] = struct{}{}
	if c.shared() {
		e.peers[c.peer.ID] = c
	}
	return nil
}

// peerConnections bounds the connections of one peer: one is enough, but a node
// may have several endpoints, and one that starts again leaves the old one's
// behind until they are found dead.
const peerConnections = 64

// adopt remembers a connection that was dialed, or returns the one that was
// dialed to the same peer at the same address before: whoever calls a node by
// no ID, or by a former one, can't know of it earlier.
func (e *Endpoint) adopt(c *conn) (*conn, error) {
	e.dialing.Lock()
	defer e.dialing.Unlock()
	for _, other := range e.all() {
		if other.dialed && other.shared() && other.peer.ID == c.peer.ID && !other.ended() && other.q.RemoteAddr().String() == c.q.RemoteAddr().String() {
			return other, nil
		}
	}
	return c, e.remember(c)
}

// takeLink counts a link of a peer, if it has fewer than most; 0 is no bound.
func (e *Endpoint) takeLink(peer identity.ID, most int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if most > 0 && e.links[peer] >= most {
		return false
	}
	e.links[peer]++
	return true
}

// giveLink takes one out of the count.
func (e *Endpoint) giveLink(peer identity.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.links[peer]--; e.links[peer] <= 0 {
		delete(e.links, peer)
		delete(e.held, peer)
	}
}

// takeHead counts a lane of a peer that has not said yet whose it is.
func (e *Endpoint) takeHead(peer identity.ID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heads[peer] >= e.opts.MaxLinks*maxLane {
		return false
	}
	e.heads[peer]++
	return true
}

// giveHead takes one out of the count.
func (e *Endpoint) giveHead(peer identity.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heads[peer]--; e.heads[peer] <= 0 {
		delete(e.heads, peer)
	}
}

// backlogOf returns what bounds the backlogs of the links to a peer that has some.
func (e *Endpoint) backlogOf(peer identity.ID) *allowance {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.held[peer]
	if a == nil {
		a = &allowance{most: int64(e.opts.MaxBacklog)}
		e.held[peer] = a
	}
	return a
}

// forget is called when a connection has ended.
func (e *Endpoint) forget(c *conn) {
	e.gate.giveBack(c.q)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, c)
	if e.peers[c.peer.ID] != c {
		return
	}
	delete(e.peers, c.peer.ID)
	for other := range e.conns {
		if other.peer.ID == c.peer.ID && other.shared() && !other.ended() {
			e.peers[c.peer.ID] = other
		}
	}
}

// recheck closes the connections of whoever is no longer let in.
func (e *Endpoint) recheck() {
	for _, c := range e.all() {
		c.vigil.check()
	}
}

func (e *Endpoint) all() []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*conn, 0, len(e.conns))
	for c := range e.conns {
		all = append(all, c)
	}
	return all
}

// offer puts a link among those that wait for Accept, if there is room, and
// then answers its opener by a function that doesn't block.
func (e *Endpoint) offer(l *Link, answer func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.accepted) == cap(e.accepted) {
		return false
	}
	answer()
	e.accepted <- l
	return true
}

// Accept returns the next link that a peer has opened. Errors: [ErrClosed], or
// the context's.
func (e *Endpoint) Accept(ctx context.Context) (*Link, error) {
	select {
	case l := <-e.accepted:
		return l, nil
	case <-e.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("quic: accepting: %w", context.Cause(ctx))
	}
}

// AcceptLink is Accept with the link as an interface: what Run and Accept of an
// rpc.Server take.
func (e *Endpoint) AcceptLink(ctx context.Context) (link.Link, error) {
	l, err := e.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Close ends all links, waits for at most Options.Linger until what was flushed
// has arrived, and closes the socket.
func (e *Endpoint) Close() error {
	var err error
	e.closing.Do(func() {
		close(e.closed)
		e.stopWatch()
		patience := time.NewTimer(e.opts.Linger)
		defer patience.Stop()
		for _, c := range e.all() {
			c.close(patience)
		}
		if e.relay != nil {
			e.relay.close()
		}
		err = errors.Join(e.listener.Close(), e.transport.Close(), e.socket.Close())
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, m := range e.moved {
			err = errors.Join(err, m.close())
		}
	})
	return err
}

// close ends the links of a connection and then the connection.
func (c *conn) close(patience *time.Timer) {
	c.mu.Lock()
	links := make([]*quicLink, 0, len(c.links))
	for _, q := range c.links {
		links = append(links, q)
	}
	c.mu.Unlock()
	for _, q := range links {
		q.link.Shutdown()
	}
	for _, q := range links {
		select {
		case <-q.link.finished:
		case <-patience.C:
			patience.Reset(0)
		}
	}
	c.end(codeClosed, "closed")
}
