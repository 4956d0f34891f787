package quic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
)

// Via says by which relay a node is reached, or waits to be reached.
type Via struct {
	Addr string      // of the relay, "host:port"
	ID   identity.ID // the relay's; zero for any trusted node there
	// Punch has the two nodes try to reach each other directly through their
	// address translators (RFC 5128, section 3.3), while the relay stands by.
	// Each learns the other's public address by that. It works where both agree
	// and neither translator gives each destination another port.
	Punch bool
	// PunchFor is how long that is tried. Default: 1 s.
	PunchFor time.Duration
	// Waiting, if set, is told by WaitAt when the relay lets this node wait, and
	// when it does so no more. It must not block.
	Waiting func(bool)
}

const (
	// waitPace is how long to wait before a relay that was lost is dialed again.
	waitPace = 500 * time.Millisecond
	// invitesMost bounds how many callers a second a relay may announce.
	invitesMost = 32
)

// WaitAt waits at a relay for callers of [Endpoint.DialVia], whose links come by
// Accept like all others, until ctx ends. It dials the relay again when it is
// lost. It returns at once, with the relay's words, if it refuses.
func (e *Endpoint) WaitAt(ctx context.Context, v Via) error {
	for {
		err := e.waitOnce(ctx, v)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrRefused), errors.Is(err, ErrClosed):
			return fmt.Errorf("quic: waiting at the relay %s: %w", v.Addr, err)
		}
		select {
		case <-time.After(waitPace):
		case <-e.closed:
			return ErrClosed
		case <-ctx.Done():
		}
	}
}

func (e *Endpoint) waitOnce(ctx context.Context, v Via) error {
	c, s, err := e.askRelay(ctx, v, waitMagic, nil)
	if err != nil {
		return err
	}
	defer s.CancelWrite(streamCancel)
	stop := context.AfterFunc(ctx, func() { s.CancelRead(streamCancel) })
	defer stop()
	if v.Waiting != nil {
		v.Waiting(true)
		defer v.Waiting(false)
	}
	pace := time.NewTicker(time.Second / invitesMost)
	defer pace.Stop()
	for {
		p, err := readPass(s)
		if err != nil {
			return err
		}
		at := sideAt(c, p)
		e.passes.add(at, passing{p.token, v.Addr})
		go e.present(at, p, v.Punch, func() bool { return e.hasConnAt(at.String()) })
		<-pace.C
	}
}

// hasConnAt reports whether a connection to that address is open.
func (e *Endpoint) hasConnAt(addr string) bool {
	for _, c := range e.all() {
		if !c.ended() && c.q.RemoteAddr().String() == addr {
			return true
		}
	}
	return false
}

// numeric parses an address that a relay has told; nil if it is none.
func numeric(addr string) *net.UDPAddr {
	host, port, err := net.SplitHostPort(addr)
	n, bad := strconv.ParseUint(port, 10, 16)
	ip := net.ParseIP(host)
	if err != nil || bad != nil || n == 0 || ip == nil || ip.IsMulticast() || ip.IsUnspecified() || ip.Equal(net.IPv4bcast) {
		return nil
	}
	return &net.UDPAddr{IP: ip, Port: int(n)}
}

// askRelay opens a stream to a relay, asks, and reads its verdict.
func (e *Endpoint) askRelay(ctx context.Context, v Via, magic [4]byte, rest []byte) (*conn, *quicgo.Stream, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.opts.HandshakeTimeout, fmt.Errorf("%w: no answer within %v", ErrHandshake, e.opts.HandshakeTimeout))
	defer cancel()
	c, _, err := e.connect(ctx, v.Addr, v.ID, false)
	if err != nil {
		return nil, nil, explain(err)
	}
	s, err := c.q.OpenStreamSync(ctx)
	if err != nil {
		return nil, nil, explain(err)
	}
	if _, err = s.Write(append(relayHead(magic, v.Punch), rest...)); err == nil {
		err = readVerdict(ctx, s)
	}
	if err != nil {
		s.CancelRead(streamCancel)
		s.CancelWrite(streamCancel)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, explain(err)
	}
	return c, s, nil
}

// DialVia opens a link to a node that waits at a relay. What travels is
// encrypted between the two nodes, as everywhere. Info().Why says so if the
// relay stands between them; a link that reaches the node directly, by an
// existing connection or through the translators, is like any other. Errors are
// those of [Endpoint.Dial]; [ErrRefused] also with the relay's words.
func (e *Endpoint) DialVia(ctx context.Context, v Via, peer identity.ID, o *LinkOptions) (*Link, error) {
	lo, err := o.settle()
	if err != nil {
		return nil, err
	}
	if peer.IsZero() {
		return nil, fmt.Errorf("%w: a relay must be told whom to reach", ErrHandshake)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, e.opts.HandshakeTimeout, fmt.Errorf("%w: no answer within %v", ErrHandshake, e.opts.HandshakeTimeout))
	defer cancel()
	c, err := e.connectVia(ctx, v, peer)
	if err != nil {
		return nil, fmt.Errorf("quic: dialing %v by the relay %s: %w", nameOf(peer), v.Addr, explain(err))
	}
	l, err := c.open(ctx, lo)
	if err != nil {
		return nil, fmt.Errorf("quic: opening a link to %v by the relay %s: %w", nameOf(peer), v.Addr, explain(err))
	}
	return l, nil
}

// connectVia returns a connection to the node, a direct one if there is any.
func (e *Endpoint) connectVia(ctx context.Context, v Via, peer identity.ID) (*conn, error) {
	if c := e.connTo(peer); c != nil {
		return c, nil
	}
	key := fmt.Sprintf("%s by %s, punch %v for %v", peer, v.Addr, v.Punch, v.PunchFor)
	c, _, err := e.together(ctx, key, func(ctx context.Context) (*conn, bool, error) {
		if c := e.connTo(peer); c != nil { // made by those who have just been here
			return c, false, nil
		}
		c, err := e.pairVia(ctx, v, peer)
		return c, true, err
	})
	return c, err
}

// connTo returns a connection to the node that links may share, a direct one if
// there is any; nil if there is none.
func (e *Endpoint) connTo(peer identity.ID) (known *conn) {
	for _, c := range e.all() {
		if c.peer.ID == peer && !c.own && !c.ended() && (known == nil || known.relayed()) {
			known = c
		}
	}
	return known
}

// pairVia has the relay make a pair, and connects by that, or without it.
func (e *Endpoint) pairVia(ctx context.Context, v Via, peer identity.ID) (*conn, error) {
	r, s, err := e.askRelay(ctx, v, callMagic, peer[:])
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.CancelRead(streamCancel) })
	p, err := readPass(s)
	if !stop() && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		s.CancelRead(streamCancel)
		s.CancelWrite(streamCancel)
		return nil, err
	}
	done := make(chan struct{})
	var made *conn
	at := sideAt(r, p)
	e.passes.add(at, passing{p.token, v.Addr})
	go e.present(at, p, v.Punch, func() bool {
		select {
		case <-done:
			return made != nil && made.relayed() && !made.ended()
		default:
			return true
		}
	})
	c, err := e.race(ctx, v, at, numeric(p.other), peer)
	made = c
	close(done)
	if err != nil || !c.relayed() {
		_ = s.Close() // the pair isn't needed
		return c, err
	}
	context.AfterFunc(c.q.Context(), func() { _ = s.Close() })
	return c, nil
}

// race tries the direct way to other, if both agreed to it, and then the relay's,
// to at.
func (e *Endpoint) race(ctx context.Context, v Via, at, other *net.UDPAddr, peer identity.ID) (*conn, error) {
	if v.Punch && other != nil {
		patience := v.PunchFor
		orDefault(&patience, time.Second)
		direct, cancel := context.WithTimeout(ctx, patience)
		c, err := e.shake(direct, e.transport, other, peer, how{})
		cancel()
		if err == nil {
			return c, nil
		}
	}
	return e.shake(ctx, e.transport, at, peer, how{via: v.Addr})
}
