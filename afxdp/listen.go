package afxdp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// ListenOptions sets up a [Listener]. Zero fields get the default.
type ListenOptions struct {
	Options // of each connection
	// MaxPeers is how many connections there may be at once; default 64, and 8
	// over AF_XDP, whose memory is taken for all of them by the first.
	MaxPeers int
	// MaxPerHost is how many of them one IPv4 address, or one network of 64 bits
	// of IPv6, may have; default half of MaxPeers.
	MaxPerHost int
	// Backlog is how many peers may wait for Accept; default 16. Others go on
	// asking.
	Backlog int
}

// Listener accepts connections from peers that are not known beforehand. They
// connect by [Dial] or [DialUDP], with its address as their remote one.
//
// UDP proves nobody's address, so a stranger is first sent a cookie, in an answer
// not longer than its question. Until it has brought that back nothing is kept
// for it. Afterwards it takes a place among MaxPeers. That it can receive at its
// address is all that is known of a peer then: who it is, what runs over the
// connection must find out.
//
// Its methods may be called from any goroutine.
type Listener struct {
	local   netip.AddrPort
	options ListenOptions
	xdp     bool
	key     listenKey
	socket  *net.UDPConn
	raw     syscall.RawConn
	backlog chan *stranger
	done    chan struct{} // closed by Close
	ended   chan struct{} // closed when the goroutine that reads has ended

	mu       sync.Mutex // taken within a station's, never around it
	cookies  cookies
	waiting  map[netip.AddrPort]*stranger // in the backlog, or becoming a connection
	peers    map[netip.AddrPort]bool      // places that are taken, by those and by connections
	hosts    map[netip.Prefix]int         // how many of them a host has
	answered int                          // since answeredSince
	since    time.Time
	stats    ListenStats
}

// ListenStats counts what became of strangers' datagrams.
type ListenStats struct {
	Accepted   uint64 // connections
	Challenged uint64 // got a cookie
	Mismatched uint64 // are set up otherwise, and were told so
	Refused    uint64 // had their cookie, and there was no place
	Malformed  uint64 // were no greeting
	Limited    uint64 // not answered, since too many were within a second
}

// stranger has shown that it receives at its address.
type stranger struct {
	from    netip.AddrPort
	session uint32
	hello   hello
	heard   time.Time
}

const (
	// maxAnswers bounds what strangers are answered in a second, so that no
	// forged question makes more traffic than this.
	maxAnswers = 10_000
	// strangerPatience is how long a stranger may be silent that waits for
	// Accept: it repeats itself every helloPace.
	strangerPatience = 50 * helloPace
)

// Listen listens on local for connections over AF_XDP; one whose interface has
// none gets an ordinary socket, unless Options.XDP.Required says otherwise. All
// of it belongs to the network namespace of the calling thread, and so must
// those that call Accept. The address must be one of the host's, not the
// unspecified one. A nil o means defaults.
func Listen(local netip.AddrPort, o *ListenOptions) (*Listener, error) {
	return listen(local, o, true)
}

// ListenUDP is [Listen] over ordinary UDP sockets. A port of 0 takes any that is
// free; see [Listener.Addr].
func ListenUDP(local netip.AddrPort, o *ListenOptions) (*Listener, error) {
	return listen(local, o, false)
}

// settle fills in defaults; o may be nil.
func (o *ListenOptions) settle(xdp bool) (s ListenOptions, err error) {
	if o != nil {
		s = *o
	}
	if s.MaxPeers == 0 {
		s.MaxPeers = 64
		if xdp {
			s.MaxPeers = 8
		}
	}
	if s.MaxPerHost == 0 {
		s.MaxPerHost = (s.MaxPeers + 1) / 2
	}
	if s.Backlog == 0 {
		s.Backlog = 16
	}
	if s.MaxPeers < 1 || s.MaxPerHost < 1 || s.Backlog < 1 || s.MaxPeers > 1<<16 || s.Backlog > 1<<16 {
		return s, fmt.Errorf("afxdp: ListenOptions has MaxPeers %d, MaxPerHost %d and Backlog %d; each must be 1 to 65,536, or 0 for the default", s.MaxPeers, s.MaxPerHost, s.Backlog)
	}
	if xdp {
		s.XDP.Peers = max(s.XDP.Peers, s.MaxPeers)
	}
	s.Options, err = s.Options.settle()
	return s, err
}

func listen(local netip.AddrPort, o *ListenOptions, xdp bool) (*Listener, error) {
	s, err := o.settle(xdp)
	if err != nil {
		return nil, err
	}
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	if !local.Addr().IsValid() || local.Addr().IsUnspecified() || xdp && local.Port() == 0 {
		return nil, fmt.Errorf("afxdp: listening on %v: an address of this host is needed, not the unspecified one, over AF_XDP with a port", local)
	}
	ns, err := namespace()
	if err != nil {
		return nil, err
	}
	l := &Listener{options: s, xdp: xdp, backlog: make(chan *stranger, s.Backlog), done: make(chan struct{}), ended: make(chan struct{}),
		waiting: map[netip.AddrPort]*stranger{}, peers: map[netip.AddrPort]bool{}, hosts: map[netip.Prefix]int{}}
	if err := l.open(local); err != nil {
		return nil, err
	}
	l.key = listenKey{ns, netip.AddrPortFrom(l.local.Addr().WithZone(""), l.local.Port())}
	if err := l.register(); err != nil {
		return nil, errors.Join(err, l.socket.Close())
	}
	go l.read()
	return l, nil
}

func (l *Listener) open(local netip.AddrPort) error {
	network := "udp4"
	if local.Addr().Is6() {
		network = "udp6"
	}
	// Connections have sockets of their own with the same port.
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
	}}
	c, err := shared.ListenPacket(context.Background(), network, local.String())
	if err != nil {
		return fmt.Errorf("afxdp: listening: %w (is it an address of this host, and is the port free?)", err)
	}
	l.socket = c.(*net.UDPConn) // of network udp it is one
	if l.raw, err = l.socket.SyscallConn(); err != nil {
		return errors.Join(fmt.Errorf("afxdp: listening: %w", err), c.Close())
	}
	at := l.socket.LocalAddr().(*net.UDPAddr).AddrPort()
	l.local = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	return nil
}

// Addr is where it listens.
func (l *Listener) Addr() netip.AddrPort { return l.local }

// Stats returns what became of strangers so far.
func (l *Listener) Stats() ListenStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Accept waits for a peer and connects with it. Errors are the context's,
// [link.ErrClosed] once the listener is closed, and others, which concern one
// peer: Accept may be called again.
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	for {
		var s *stranger
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("afxdp: accepting on %v: %w", l.local, context.Cause(ctx))
		case <-l.done:
			return nil, fmt.Errorf("afxdp: the listener on %v: %w", l.local, link.ErrClosed)
		case s = <-l.backlog:
		}
		l.mu.Lock()
		who := *s
		l.mu.Unlock()
		if time.Since(who.heard) > strangerPatience {
			l.settled(who.from, false) // it has given up
			continue
		}
		c, err := l.admit(&who)
		l.settled(who.from, err == nil)
		return c, err
	}
}

// settled notes what became of a stranger from the backlog.
func (l *Listener) settled(from netip.AddrPort, accepted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, from)
	if accepted {
		l.stats.Accepted++
	} else {
		l.leave(from)
	}
}

// admit makes a connection with s. That it is answered, and so knows of the
// connection, comes of its own repetitions.
func (l *Listener) admit(s *stranger) (*Conn, error) {
	o := l.options.Options
	info := link.Info{Kind: "udp", Peer: link.Peer{Addr: s.from.String()}}
	m, err := l.medium(s.from, &o, &info)
	if err != nil {
		return nil, fmt.Errorf("afxdp: accepting %v: %w", s.from, err)
	}
	c, err := newConn(m, o, settled{newSession(), s.session, s.hello.common(&o), s.hello.whole}, info)
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = func() { l.forget(s.from) }
	c.sayHello()
	return c, nil
}

// medium opens the way to a peer.
func (l *Listener) medium(from netip.AddrPort, o *Options, info *link.Info) (medium, error) {
	why := "An ordinary UDP socket was asked for, not AF_XDP."
	if l.xdp {
		if u := openBulk(l.local, from, o, true, info); u != nil {
			return u, nil
		}
		x, err := openXDP(l.local, from, o, info)
		if err == nil {
			info.Kind = "afxdp"
			return x, nil
		}
		// Where the program is attached already, an ordinary socket hears nothing.
		if o.XDP.Required || errors.Is(err, errShared) {
			return nil, fmt.Errorf("%w: %w", ErrNoXDP, err)
		}
		why = fmt.Sprintf("No AF_XDP: %v.", err)
	}
	u, err := openUDP(l.local, from, o, true)
	if err != nil {
		return nil, err
	}
	info.ZeroCopy, info.Why = false, append([]string{why}, u.why...)
	return u, nil
}

// forget frees the place of a connection that was closed.
func (l *Listener) forget(from netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave(from)
}

// Close ends listening. Connections stay.
func (l *Listener) Close() error {
	l.mu.Lock()
	select {
	case <-l.done:
		l.mu.Unlock()
		return nil
	default:
	}
	close(l.done)
	l.mu.Unlock()
	l.unregister()
	err := l.socket.Close()
	<-l.ended
	return err
}
