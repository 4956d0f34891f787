package uds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/wire"
)

// Server shakes hands as the listening side over a connected socket that came
// by other means than a [Listener], such as one that was inherited. It owns c
// from the call on. SO_PEERCRED of a socketpair names the process that made
// it. Errors: as [Dial].
func Server(ctx context.Context, c *net.UnixConn, o *Options) (*Conn, error) {
	return settled(ctx, c, o, 0, func(x *exchange, s *Options) (*Conn, error) {
		return serve(x, s, &budget{limit: s.MaxMemory})
	})
}

// Client shakes hands as the dialing side; see [Server].
func Client(ctx context.Context, c *net.UnixConn, o *Options) (*Conn, error) {
	return settled(ctx, c, o, ringFDs, request)
}

// shaker is one side's part of a handshake.
type shaker func(*exchange, *Options) (*Conn, error)

func settled(ctx context.Context, c *net.UnixConn, o *Options, fds int, shake shaker) (*Conn, error) {
	s, err := o.settle()
	if err != nil {
		c.Close()
		return nil, err
	}
	return overSocket(ctx, c, s, "", fds, shake)
}

// overSocket owns c and makes it a connection to whom the policy admits.
func overSocket(ctx context.Context, c *net.UnixConn, o *Options, addr string, fds int, shake shaker) (*Conn, error) {
	peer, err := peerOf(c, addr)
	if err != nil {
		c.Close()
		return nil, err
	}
	return overSocketOf(ctx, c, o, peer, fds, shake)
}

// overSocketOf is overSocket where somebody who knows has said who the peer is.
func overSocketOf(ctx context.Context, c *net.UnixConn, o *Options, peer link.Peer, fds int, shake shaker) (*Conn, error) {
	x := newExchange(c, peer, fds)
	stop := x.bound(ctx, o.HandshakeTimeout)
	defer stop()
	if err := admit(o, peer); err != nil {
		x.tell(err)
		x.close()
		return nil, err
	}
	if fds > 0 {
		return shakeHandsApart(ctx, x, o, shake)
	}
	return shakeHands(ctx, x, o, shake)
}

// admit asks the policy.
func admit(o *Options, peer link.Peer) error {
	if err := o.Policy(peer); err != nil {
		r := refuse(wire.StatusPermissionDenied, "policy: %w", err)
		r.PID = peer.PID
		return r
	}
	return nil
}

// shakeHands runs one side of the handshake, tells the peer of a refusal, and
// closes the exchange either way: a Conn has a descriptor of its own.
func shakeHands(ctx context.Context, x *exchange, o *Options, shake shaker) (*Conn, error) {
	defer x.close()
	conn, err := shake(x, o)
	if err != nil {
		var r *RefusedError
		if errors.As(err, &r) {
			r.PID = x.peer.PID
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// The socket's deadline may fire just before the context's own.
			cause := context.DeadlineExceeded
			if ctx.Err() != nil {
				cause = context.Cause(ctx)
			}
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		x.tell(err)
		return nil, err
	}
	return conn, nil
}

// serve is the listening side: hello in, offer out, accept in.
func serve(x *exchange, o *Options, b *budget) (*Conn, error) {
	body, err := x.receive(kindHello)
	if err != nil {
		return nil, err
	}
	version, err := agree(o, body)
	if err != nil {
		return nil, err
	}
	h, err := parseHello(body)
	if err != nil {
		return nil, refuse(wire.StatusInvalidArgument, "%w", err)
	}
	p, err := propose(o, &h, b)
	if err != nil {
		return nil, err
	}
	p.offer.version = version
	conn, err := p.conn(x)
	if err != nil {
		return nil, err
	}
	var fds []int
	if p.rings != nil {
		fds = p.rings.descriptors()
	}
	if err := x.send(p.offer.append(nil), fds...); err != nil {
		conn.discard()
		return nil, err
	}
	return p.finish(x, conn)
}

// agree picks the highest version that both sides speak. Every version's
// program can read this much of a hello.
func agree(o *Options, body []byte) (uint8, error) {
	low, high, err := parseVersions(body)
	if err != nil {
		return 0, refuse(wire.StatusInvalidArgument, "%w", err)
	}
	if v := min(high, o.high); v >= low && v >= o.low {
		return v, nil
	}
	return 0, refuse(wire.StatusUnimplemented, "no common version: the dialer speaks %d to %d, the listener %d to %d; upgrade the older of the two", low, high, o.low, o.high)
}

// proposal is what the listening side offers.
type proposal struct {
	offer  offer
	rings  *rings // nil on the stream path
	budget *budget
	memory int64
}

// propose decides on the path, and why.
func propose(o *Options, h *hello, b *budget) (*proposal, error) {
	p := &proposal{budget: b, offer: offer{
		path: PathStream, must: o.Path == PathRing,
		maxPayload: min(h.maxPayload, uint32(o.MaxPayload)),
	}}
	switch {
	case h.path == PathStream && o.Path == PathRing:
		return nil, refuse(wire.StatusFailedPrecondition, "the dialer wants no rings (%s) and the listener nothing else; change Options.Path of one", h.why)
	case h.path == PathStream:
		p.offer.why = h.why
		return p, nil
	case o.Path == PathStream && h.path == PathRing:
		return nil, refuse(wire.StatusFailedPrecondition, "the listener wants no rings and the dialer nothing else; change Options.Path of one")
	case o.Path == PathStream:
		p.offer.why = "no rings: the listener's Options.Path is stream"
		return p, nil
	}
	if err := p.addRings(o, h); err != nil {
		if o.Path == PathRing || h.path == PathRing {
			return nil, refuse(wire.StatusFailedPrecondition, "rings are required by Options.Path and can't be had: %w", err)
		}
		p.offer.why = fmt.Sprintf("no rings: %v", err)
		return p, nil
	}
	p.offer.path, p.offer.ringSize = PathRing, uint32(p.rings.out.Size())
	return p, nil
}

// addRings makes the rings within all limits.
func (p *proposal) addRings(o *Options, h *hello) error {
	size := int(h.ringSize)
	if size == 0 {
		size = o.RingSize
	}
	if size == 0 {
		size = ring.DefaultSize
	}
	size = min(size, o.MaxRingSize, int(h.maxRing))
	if err := p.budget.take(2 * int64(size)); err != nil {
		return err
	}
	huge := o.HugePages && h.huge
	if o.HugePages && !h.huge {
		p.offer.why = "no huge pages: the dialer's Options.HugePages is not set"
	}
	r, err := createRings(o, size, huge)
	if huge && errors.Is(err, ring.ErrHugePages) {
		p.offer.why = fmt.Sprintf("no huge pages: %v", err)
		r, err = createRings(o, size, false)
	}
	if err != nil {
		p.budget.give(2 * int64(size))
		return err
	}
	p.rings, p.memory = r, 2*int64(size)
	return nil
}

// conn makes the connection that the offer promises, so that nothing can fail
// once the dialer has accepted. It owns the rings.
func (p *proposal) conn(x *exchange) (*Conn, error) {
	c, err := newConn(x, p.rings, int(p.offer.maxPayload), p.offer.why)
	if err != nil {
		if p.rings != nil {
			_ = p.rings.close()
		}
		p.budget.give(p.memory)
		return nil, err
	}
	if p.memory > 0 {
		c.onClose = append(c.onClose, func() { p.budget.give(p.memory) })
	}
	return c, nil
}

// finish waits for the dialer's answer to the offer.
func (p *proposal) finish(x *exchange, c *Conn) (*Conn, error) {
	body, err := x.receive(kindAccept)
	if err != nil {
		c.discard()
		return nil, err
	}
	a, err := parseAccept(body)
	switch {
	case err == nil && a.path == p.offer.path:
		if p.rings != nil {
			p.rings.closeFDs()
		}
		return c, nil
	case err == nil && (a.path == PathRing || p.offer.must):
		err = fmt.Errorf("%w: the dialer accepted what was not offered", errMessage)
	}
	c.discard()
	if err != nil {
		return nil, refuse(wire.StatusInvalidArgument, "%w", err)
	}
	return newConn(x, nil, int(p.offer.maxPayload), a.why)
}

// request is the dialing side: hello out, offer in, accept out.
func request(x *exchange, o *Options) (*Conn, error) {
	h := hello{
		low: o.low, high: o.high, path: o.Path, huge: o.HugePages,
		ringSize: uint32(o.RingSize), maxRing: uint32(o.MaxRingSize), maxPayload: uint32(o.MaxPayload),
	}
	if o.Path == PathStream {
		h.why = "no rings: the dialer's Options.Path is stream"
	}
	// A listener that refuses at once may have closed the socket already; then
	// sending fails, and its reason waits to be read.
	sendErr := x.send(h.append(nil))
	if sendErr != nil && !errors.Is(sendErr, link.ErrPeerGone) {
		return nil, sendErr
	}
	body, err := x.receive(kindOffer)
	if err != nil {
		return nil, err
	}
	f, err := parseOffer(body)
	if err != nil {
		return nil, refuse(wire.StatusInvalidArgument, "%w", err)
	}
	if f.version < o.low || f.version > o.high {
		return nil, refuse(wire.StatusUnimplemented, "the listener chose version %d and the dialer speaks %d to %d", f.version, o.low, o.high)
	}
	return answer(x, o, &f)
}

// answer takes the offer, or falls back to the stream path and says why.
func answer(x *exchange, o *Options, f *offer) (*Conn, error) {
	a := accept{path: f.path}
	var r *rings
	if f.path == PathRing {
		var err error
		if r, err = x.takeRings(o, f); err != nil {
			r = nil
			if f.must || o.Path == PathRing {
				return nil, refuse(wire.StatusFailedPrecondition, "rings are required by Options.Path and can't be had: %w", err)
			}
			a = accept{path: PathStream, why: fmt.Sprintf("no rings: the dialer could not attach them: %v", err)}
			f.why = a.why
		}
	} else if o.Path == PathRing {
		return nil, refuse(wire.StatusFailedPrecondition, "rings are required by Options.Path and were not offered: %s", f.why)
	}
	max := min(int(f.maxPayload), o.MaxPayload)
	c, err := newConn(x, r, max, f.why)
	if err != nil {
		if r != nil {
			_ = r.close()
		}
		return nil, err
	}
	if err := x.send(a.append(nil)); err != nil {
		c.discard()
		if errors.Is(err, link.ErrPeerGone) { // as in request: its reason may wait to be read
			_, err = x.receive(kindRefuse)
		}
		return nil, err
	}
	return c, nil
}

// takeRings attaches the descriptors that came with an offer, all of which it
// takes.
func (x *exchange) takeRings(o *Options, f *offer) (*rings, error) {
	fds := x.fds
	x.fds = nil
	var err error
	switch {
	case len(fds) != ringFDs && x.excess:
		err = fmt.Errorf("uds: %d of %d descriptors arrived; raise RLIMIT_NOFILE", len(fds), ringFDs)
	case len(fds) != ringFDs:
		err = fmt.Errorf("uds: %d descriptors where %d are due", len(fds), ringFDs)
	case int(f.ringSize) > o.MaxRingSize:
		err = fmt.Errorf("uds: rings of %d bytes, more than Options.MaxRingSize of %d", f.ringSize, o.MaxRingSize)
	default:
		return attachRings(o, fds, int(f.ringSize))
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	return nil, err
}

// newConn makes a connection over r, or over the socket if r is nil. It owns r
// only when it succeeds.
func newConn(x *exchange, r *rings, max int, why string) (*Conn, error) {
	fd, err := x.dup()
	if err != nil {
		return nil, refuse(wire.StatusResourceExhausted, "no descriptor for the socket: %w; raise RLIMIT_NOFILE", err)
	}
	takeNoDescriptors(fd)
	c := &Conn{rings: r}
	c.fd, c.pid = fd, x.peer.PID
	c.info = link.Info{Kind: "uds", Peer: x.peer, MaxPayload: max, Ordered: true, Reliable: true}
	if why != "" {
		c.info.Why = []string{why}
	}
	if r != nil {
		if err := r.takeSides(fd); err != nil {
			unix.Close(fd)
			return nil, refuse(wire.StatusFailedPrecondition, "%w", err)
		}
		c.tx, c.rx = r.tx, r.rx
		c.info.Kind, c.info.MaxPayload = "ring", r.tx.MaxPayload()
		c.info.ZeroCopy, c.info.Hostile = true, true
		return c, nil
	}
	if c.st, err = newStream(&c.life, max); err != nil {
		unix.Close(fd)
		return nil, refuse(wire.StatusResourceExhausted, "%w", err)
	}
	return c, nil
}

// discard closes a connection that never came to be, and leaves the socket to
// the handshake, which may still have to say why.
func (c *Conn) discard() {
	c.ended = true
	_ = c.Close()
}
