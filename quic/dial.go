package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
)

// Dialer returns a function that dials as [Endpoint.Dial] does and returns the
// link as an interface: what rpc.Connect takes.
func (e *Endpoint) Dialer(addr string, peer identity.ID, o *LinkOptions) func(ctx context.Context) (link.Link, error) {
	return func(ctx context.Context) (link.Link, error) {
		l, err := e.Dial(ctx, addr, peer, o)
		if err != nil {
			return nil, err // not l: an interface that holds a nil *Link is not nil
		}
		return l, nil
	}
}

// Dial opens a link to the node peer at addr ("host:port"), or, if peer is the
// zero ID, to whatever trusted node is there. If there is a connection to that
// peer already, whoever made it, the link takes that one, and addr is not
// looked at. Options.HandshakeTimeout bounds it, and the context.
//
// Errors: [ErrRefused] with the peer's words, identity's errors if it is not
// who it should be, [ErrHandshake], [ErrClosed].
func (e *Endpoint) Dial(ctx context.Context, addr string, peer identity.ID, o *LinkOptions) (*Link, error) {
	lo, err := o.settle()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, e.opts.HandshakeTimeout, fmt.Errorf("%w: no answer within %v", ErrHandshake, e.opts.HandshakeTimeout))
	defer cancel()
	for try := 0; ; try++ {
		c, fresh, err := e.connect(ctx, addr, peer, lo.OwnConnection)
		if err != nil {
			return nil, fmt.Errorf("quic: dialing %v at %s: %w", nameOf(peer), addr, explain(err))
		}
		l, err := c.open(ctx, lo)
		if err == nil {
			return l, nil
		}
		// A connection that was there may have died without anybody knowing.
		if fresh || try > 0 || !c.endsBy(ctx, err) {
			return nil, fmt.Errorf("quic: opening a link to %v at %s: %w", nameOf(peer), addr, explain(err))
		}
	}
}

// DialKnown opens a link over a connection to a peer that there is, a direct one or
// one by a relay, and makes none. Errors: [ErrHandshake] if there is none, and those
// of [Endpoint.Dial].
func (e *Endpoint) DialKnown(ctx context.Context, peer identity.ID, o *LinkOptions) (*Link, error) {
	lo, err := o.settle()
	if err != nil {
		return nil, err
	}
	c := e.connTo(peer)
	if c == nil {
		return nil, fmt.Errorf("%w to %v so far; Dial makes one", ErrHandshake, nameOf(peer))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, e.opts.HandshakeTimeout, fmt.Errorf("%w: no answer within %v", ErrHandshake, e.opts.HandshakeTimeout))
	defer cancel()
	l, err := c.open(ctx, lo)
	if err != nil {
		return nil, fmt.Errorf("quic: opening a link to %v: %w", nameOf(peer), explain(err))
	}
	return l, nil
}

func nameOf(peer identity.ID) string {
	if peer.IsZero() {
		return "any trusted node"
	}
	return peer.Short()
}

// explain turns an error of a handshake into one of this package.
func explain(err error) error {
	var app *quicgo.ApplicationError
	if errors.As(err, &app) && app.Remote && app.ErrorCode != codeClosed {
		return fmt.Errorf("%w: %s", ErrRefused, printable([]byte(app.ErrorMessage)))
	}
	if errors.Is(err, quicgo.ErrTransportClosed) {
		return ErrClosed
	}
	for _, known := range []error{ErrRefused, ErrHandshake, ErrClosed} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrHandshake, err)
}

// connect returns the connection to a peer; fresh if it was made for this.
func (e *Endpoint) connect(ctx context.Context, addr string, peer identity.ID, own bool) (c *conn, fresh bool, err error) {
	if own {
		return e.handshake(ctx, addr, peer, how{own: true})
	}
	e.mu.Lock()
	c = e.peers[peer]
	e.mu.Unlock()
	if c != nil && !c.ended() {
		return c, false, nil
	}
	return e.together(ctx, peer.String()+" "+addr, func(ctx context.Context) (*conn, bool, error) {
		return e.handshake(ctx, addr, peer, how{})
	})
}

// together has those who want the same connection at one time, as key names it,
// share one attempt to make it. Whoever gives up leaves the others theirs.
func (e *Endpoint) together(ctx context.Context, key string, dial func(context.Context) (*conn, bool, error)) (c *conn, fresh bool, err error) {
	e.mu.Lock()
	d := e.calls[key]
	if d == nil {
		d = &call{done: make(chan struct{})}
		e.calls[key] = d
		go func() {
			bounded, cancel := context.WithTimeoutCause(context.Background(), e.opts.HandshakeTimeout,
				fmt.Errorf("%w: no answer within %v", ErrHandshake, e.opts.HandshakeTimeout))
			defer cancel()
			d.conn, d.fresh, d.err = dial(bounded)
			e.mu.Lock()
			delete(e.calls, key)
			e.mu.Unlock()
			close(d.done)
		}()
	}
	e.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.fresh, d.err
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
}

func (e *Endpoint) handshake(ctx context.Context, addr string, peer identity.ID, h how) (c *conn, fresh bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.opts.HandshakeTimeout,
		fmt.Errorf("%w: no answer within %v", ErrHandshake, e.opts.HandshakeTimeout))
	defer cancel()
	at, err := resolve(ctx, addr)
	if err != nil {
		return nil, false, err
	}
	before := time.Now()
	c, err = e.shake(ctx, e.dialer(), at, peer, h)
	return c, err == nil && c.born.After(before), err
}

// how says what kind of connection is dialed.
type how struct {
	own bool   // for one link
	via string // the relay that stands between, if one does
}

// relayed reports whether a relay stands between.
func (h how) relayed() bool { return h.via != "" }

// shake dials a connection, and returns it or one that was there before.
func (e *Endpoint) shake(ctx context.Context, t *quicgo.Transport, at *net.UDPAddr, peer identity.ID, h how) (*conn, error) {
	cfg := identity.ClientTLS(e.credentials, e.trust, peer, ALPN)
	cfg.ClientSessionCache = e.sessions()
	q, err := t.Dial(ctx, at, cfg, e.config)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	p, err := e.trust.CheckConnection(q.ConnectionState().TLS, ALPN)
	if err != nil {
		_ = q.CloseWithError(codeRefused, "")
		return nil, err
	}
	made := newConn(e, q, p)
	made.dialed, made.how = true, h
	c := made
	if h.own || h.relayed() {
		err = e.remember(made)
	} else {
		c, err = e.adopt(made)
	}
	if err != nil {
		made.end(codeTooMany, err.Error())
		return nil, err
	}
	if c != made {
		made.end(codeClosed, "there is a connection already")
		return c, nil
	}
	go c.serve()
	return c, nil
}

// sessions returns the tickets by which sessions are resumed. A resumed one
// shows the certificate that the first did, so when the node has another, for a
// new key or membership, they are of no use any more.
func (e *Endpoint) sessions() tls.ClientSessionCache {
	now := e.credentials.Certificate()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shown != now {
		e.shown, e.tickets = now, tls.NewLRUClientSessionCache(256)
	}
	return e.tickets
}

func resolve(ctx context.Context, addr string) (*net.UDPAddr, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%w; write host:port", err)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	return &net.UDPAddr{IP: ips[0].IP, Port: n, Zone: ips[0].Zone}, nil
}
