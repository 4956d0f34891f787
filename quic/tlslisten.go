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

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
)

// TLSListener takes links over TLS on TCP. All methods may be called by any
// goroutine.
type TLSListener struct {
	opts        *Options
	credentials *identity.Credentials
	trust       *identity.Trust
	socket      *net.TCPListener
	gate        gate
	refusals    refusals

	accepted chan *Link
	closed   chan struct{}
	closing  sync.Once

	mu    sync.Mutex // of closing, against an offer, and of what follows
	links map[identity.ID]int
}

// ListenTLS listens at the TCP address addr.
func ListenTLS(addr string, c *identity.Credentials, t *identity.Trust, o *Options) (*TLSListener, error) {
	opts, err := o.settle()
	if err != nil {
		return nil, err
	}
	socket, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("quic: %w", err)
	}
	l := &TLSListener{
		opts: opts, credentials: c, trust: t, socket: socket.(*net.TCPListener),
		accepted: make(chan *Link, opts.MaxPending), closed: make(chan struct{}),
		links: make(map[identity.ID]int),
	}
	l.gate.open(opts)
	l.refusals.tell = opts.Refused
	go l.listen()
	return l, nil
}

// Addr is where the listener is reached.
func (l *TLSListener) Addr() *net.TCPAddr { return l.socket.Addr().(*net.TCPAddr) }

// acceptPause is how long to wait when the kernel has no descriptors left.
const acceptPause = 10 * time.Millisecond

func (l *TLSListener) listen() {
	for {
		raw, err := l.socket.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		place, err := l.gate.admit(raw.RemoteAddr())
		if err != nil {
			l.refused(raw, err)
			_ = raw.Close()
			continue
		}
		go l.shake(raw, place)
	}
}

func (l *TLSListener) refused(raw net.Conn, why error) {
	l.refusals.add(raw.RemoteAddr().String(), why)
}

// shake takes a connection through its handshake.
func (l *TLSListener) shake(raw *net.TCPConn, place *entry) {
	_ = raw.SetDeadline(time.Now().Add(l.opts.HandshakeTimeout))
	conn := tls.Server(raw, identity.DeferredServerTLS(l.credentials, ALPNTCP))
	made, err := l.admit(conn, raw, place)
	if err != nil {
		l.refused(raw, err)
		_ = conn.Close()
		place.gone()
		return
	}
	place.shaken()
	go made.carrier.(*tlsCarrier).attend()
}

// admit decides about a peer and answers its opening.
func (l *TLSListener) admit(conn *tls.Conn, raw *net.TCPConn, place *entry) (*Link, error) {
	var b [openingSize]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return nil, err
	}
	p, err := l.trust.CheckConnection(conn.ConnectionState(), ALPNTCP)
	var o opening
	if err == nil {
		o, err = parseOpening(b)
	}
	if err == nil && o.lanes != 1 {
		err = errors.New("a link over TLS on TCP has one lane")
	}
	if err == nil {
		err = tune(raw, l.opts)
	}
	if err == nil {
		err = l.takeLink(p.ID, place)
	}
	if err != nil {
		_, _ = conn.Write(appendAnswer(nil, statusRefused, 0, 0, err.Error()))
		return nil, err
	}
	agreed := min(o.maxPayload, l.opts.MaxPayload)
	made, err := newTLSLink(conn, l.trust, l.opts, agreed, p, place)
	if err != nil {
		return nil, err
	}
	if err := l.offer(made, conn, raw, agreed); err != nil {
		_, _ = conn.Write(appendAnswer(nil, statusRefused, 0, 0, err.Error()))
		return nil, errors.Join(err, made.receive.close(), made.space.close())
	}
	return made, nil
}

// takeLink counts a link of a peer until its place is given back.
func (l *TLSListener) takeLink(peer identity.ID, place *entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.links[peer] >= l.opts.MaxLinks {
		return fmt.Errorf("%d links of this peer are open (Options.MaxLinks)", l.opts.MaxLinks)
	}
	l.links[peer]++
	place.also = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.links[peer]--; l.links[peer] <= 0 {
			delete(l.links, peer)
		}
	}
	return nil
}

// offer puts a link among those that wait for Accept.
func (l *TLSListener) offer(made *Link, conn *tls.Conn, raw *net.TCPConn, agreed int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return ErrClosed
	default:
	}
	if len(l.accepted) == cap(l.accepted) {
		return errors.New("too many links wait to be accepted (Options.MaxPending)")
	}
	if _, err := conn.Write(appendAnswer(nil, statusAccepted, agreed, 0, "")); err != nil {
		return err
	}
	_ = raw.SetDeadline(time.Time{})
	l.accepted <- made
	return nil
}

// Accept returns the next link. Errors: [ErrClosed], or the context's.
func (l *TLSListener) Accept(ctx context.Context) (*Link, error) {
	select {
	case made := <-l.accepted:
		return made, nil
	case <-l.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("quic: accepting: %w", context.Cause(ctx))
	}
}

// AcceptLink is Accept with the link as an interface: what Run and Accept of an
// rpc.Server take.
func (l *TLSListener) AcceptLink(ctx context.Context) (link.Link, error) {
	made, err := l.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return made, nil
}

// Close ends the listener. Links that were accepted live on; those that wait
// are shut down.
func (l *TLSListener) Close() error {
	var err error
	l.closing.Do(func() {
		l.mu.Lock()
		close(l.closed)
		l.mu.Unlock()
		err = l.socket.Close()
		for {
			select {
			case made := <-l.accepted:
				_ = made.Close()
				continue
			default:
			}
			return
		}
	})
	return err
}
