package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
)

// TLS on TCP is for bulk. QUIC is made in user space, packet by packet, and
// quic-go has one congestion control; the kernel's TCP moves several times as
// much over a clean path, and with BBR over one that loses. In exchange, there
// is one connection and one lane for each link, so everything waits for every
// lost segment.

// tlsCarrier is the connection of one link over TLS on TCP.
type tlsCarrier struct {
	conn  *tls.Conn
	link  *Link
	entry *entry // of a listener's gate; may be nil
	vigil vigil
	pulse pulse
	ended chan struct{} // closed when the peer sends nothing more
	once  sync.Once
}

// openLane implements carrier.
func (t *tlsCarrier) openLane(int) (sendStream, []byte, error) { return tlsStream{t.conn}, nil, nil }

// giveCredit implements carrier: TCP's window is this link's alone.
func (t *tlsCarrier) giveCredit(int64) {}

// sayFarewell implements carrier: closing the lane has said it.
func (t *tlsCarrier) sayFarewell(lanes int) {
	if lanes == 0 {
		_ = t.conn.CloseWrite()
	}
}

// sayReceived implements carrier: the peer hears of it by this side's farewell.
func (t *tlsCarrier) sayReceived() {}

// acknowledged implements carrier.
func (t *tlsCarrier) acknowledged() <-chan struct{} { return t.ended }

// stopReading implements carrier. What comes is read on and thrown away, since
// closing a socket with unread bytes would destroy what is on its way out.
func (t *tlsCarrier) stopReading() {}

// release implements carrier.
func (t *tlsCarrier) release() {
	t.once.Do(func() {
		_ = t.conn.NetConn().Close()
		if t.entry != nil {
			t.entry.gone()
		}
		t.vigil.stop()
		t.pulse.stop()
	})
}

// attend reads until the peer's end, or until the peer is no longer let in.
func (t *tlsCarrier) attend() {
	t.pulse.begin()
	t.vigil.watch()
	t.vigil.check() // rules may have changed since it was let in
	err := t.link.receive.read(t.conn)
	if errors.Is(err, link.ErrClosed) {
		_, _ = io.Copy(io.Discard, t.conn)
	}
	close(t.ended)
	t.link.arrivals.end(gone(err))
	if err != nil && !errors.Is(err, link.ErrClosed) {
		t.link.leave()
	}
}

// tlsStream is a sendStream over TLS on TCP.
type tlsStream struct{ *tls.Conn }

// TryWriteAll implements sendStream: a socket may always block.
func (tlsStream) TryWriteAll([]byte) error { return quicgo.ErrWouldBlock }

// Close implements sendStream.
func (s tlsStream) Close() error { return s.CloseWrite() }

// Abandon implements sendStream.
func (s tlsStream) Abandon() { _ = s.NetConn().Close() }

// newTLSLink makes the link of a connection on which an opening was agreed.
func newTLSLink(c *tls.Conn, trust *identity.Trust, o *Options, maxPayload int, p identity.Peer, place *entry) (*Link, error) {
	l, err := newLink(o, maxPayload, 1)
	if err != nil {
		return nil, err
	}
	t := &tlsCarrier{conn: c, link: l, entry: place, ended: make(chan struct{})}
	t.vigil = vigil{trust: trust, state: c.ConnectionState(), end: func(why error) {
		l.lost(fmt.Errorf("%w: %w", link.ErrPeerGone, why))
		_ = c.NetConn().Close()
	}}
	t.pulse = pulse{conn: c.NetConn().(*net.TCPConn), most: o.IdleTimeout, gone: func() {
		l.lost(fmt.Errorf("%w: it answers nothing, for %v", link.ErrPeerGone, o.IdleTimeout))
		_ = c.NetConn().Close()
	}}
	l.carrier, l.peer = t, p
	l.send.granted.Store(1 << 62)
	l.arrivals.expected = 1
	l.arrivals.begin(0)
	l.info = link.Info{
		Kind: "tls", Peer: link.Peer{ID: p.ID.String(), Addr: c.RemoteAddr().String()},
		MaxPayload: maxPayload, Ordered: true, Reliable: true,
	}
	return l, nil
}

// tune sets what a link needs of its socket.
func tune(c *net.TCPConn, o *Options) error {
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: o.IdleTimeout / 3, Interval: o.IdleTimeout / 3, Count: 2})
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		if o.Congestion != "" {
			set = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, o.Congestion)
		}
	})
	if set != nil {
		return fmt.Errorf("quic: congestion control %q: %w; see net.ipv4.tcp_available_congestion_control, modprobe tcp_%s",
			o.Congestion, set, o.Congestion)
	}
	return err
}

// DialTLS opens a link over TLS on TCP to the node peer at addr, or, if peer is
// the zero ID, to whatever trusted node is there. Errors are those of
// [Endpoint.Dial].
func DialTLS(ctx context.Context, addr string, peer identity.ID, c *identity.Credentials, t *identity.Trust, o *Options) (*Link, error) {
	opts, err := o.settle()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, opts.HandshakeTimeout, fmt.Errorf("%w: no answer within %v", ErrHandshake, opts.HandshakeTimeout))
	defer cancel()
	l, err := dialTLS(ctx, addr, peer, c, t, opts)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("quic: dialing %v at %s over TCP: %w", nameOf(peer), addr, explain(err))
	}
	return l, nil
}

func dialTLS(ctx context.Context, addr string, peer identity.ID, c *identity.Credentials, t *identity.Trust, o *Options) (*Link, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := tls.Client(raw, identity.ClientTLS(c, t, peer, ALPNTCP))
	l, err := openTLS(conn, t, o)
	if err == nil {
		err = tune(raw.(*net.TCPConn), o)
	}
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close()
		if l != nil {
			_ = l.Close()
		}
		return nil, err
	}
	go l.carrier.(*tlsCarrier).attend()
	return l, nil
}

func openTLS(conn *tls.Conn, t *identity.Trust, o *Options) (*Link, error) {
	if _, err := conn.Write(opening{lanes: 1, maxPayload: o.MaxPayload}.append(nil)); err != nil {
		return nil, err
	}
	agreed, _, err := readAnswer(conn, o.MaxPayload)
	if err != nil {
		return nil, err
	}
	p, err := t.CheckConnection(conn.ConnectionState(), ALPNTCP)
	if err != nil {
		return nil, err
	}
	return newTLSLink(conn, t, o, agreed, p, nil)
}

// DialerTLS returns a function that dials as [DialTLS] does and returns the link
// as an interface: what rpc.Connect takes.
func DialerTLS(addr string, peer identity.ID, c *identity.Credentials, t *identity.Trust, o *Options) func(ctx context.Context) (link.Link, error) {
	return func(ctx context.Context) (link.Link, error) {
		l, err := DialTLS(ctx, addr, peer, c, t, o)
		if err != nil {
			return nil, err
		}
		return l, nil
	}
}
