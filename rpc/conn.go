package rpc

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// Conn is a caller-driven connection: whoever waits for an answer polls the
// link, for all who wait, so that no other thread stands between a call and
// its answer. It is a [Caller]; its methods may be called from any number of
// goroutines. Nothing arrives while nobody calls.
type Conn struct {
	opts    ConnOptions
	dialing dialing
	current atomic.Pointer[session]
	counts  connCounts
	metrics *connMetrics // nil: none
}

var _ Caller = (*Conn)(nil)

// connCounts are counters of a connection over all its links.
type connCounts struct {
	late       atomic.Uint64 // answers to calls that were over, dropped
	reconnects atomic.Uint64
	resent     atomic.Uint64
}

// ConnStats are a connection's counters.
type ConnStats struct {
	Late       uint64 // answers to calls that were over: dropped, as they must be
	Reconnects uint64 // links opened after the first
	Resent     uint64 // calls that were sent a second time or more
}

// NewConn returns a connection over one link, which it owns from now on. When
// the link is lost, so is the connection. A nil o means defaults. Errors:
// ErrOptions, ErrArgument.
func NewConn(l link.Link, o *ConnOptions) (*Conn, error) {
	if l == nil {
		return nil, fmt.Errorf("%w: NewConn needs a link", ErrArgument)
	}
	c, err := newConn(o)
	if err != nil {
		return nil, err
	}
	c.current.Store(newSession(c, l))
	return c, nil
}

// Connect opens a link with dial and returns a connection over it, which
// opens another whenever one is lost. Errors: those of dial, ErrOptions,
// ErrArgument.
func Connect(ctx context.Context, dial DialFunc, o *ConnOptions) (*Conn, error) {
	if dial == nil {
		return nil, fmt.Errorf("%w: Connect needs a function that dials", ErrArgument)
	}
	c, err := newConn(o)
	if err != nil {
		return nil, err
	}
	c.dialing.dial = dial
	l, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	c.current.Store(newSession(c, l))
	return c, nil
}

func newConn(o *ConnOptions) (*Conn, error) {
	c := &Conn{}
	if o != nil {
		c.opts = *o
	}
	if err := c.opts.setDefaults(); err != nil {
		return nil, err
	}
	c.dialing.init(&c.opts)
	var err error
	if c.metrics, err = newConnMetrics(&c.opts); err != nil {
		return nil, err
	}
	return c, nil
}

// Call implements [Caller].
func (c *Conn) Call(ctx context.Context, m *Method, req Encoder, reply Decoder) error {
	if c.metrics != nil {
		began := sched.TicksRelaxed()
		err := c.call(ctx, m, req, reply)
		c.metrics.ended(m, began, err)
		return err
	}
	return c.call(ctx, m, req, reply)
}

func (c *Conn) call(ctx context.Context, m *Method, req Encoder, reply Decoder) error {
	budget := budgetOf(ctx, c.opts.Timeout)
	if err := c.callOnce(ctx, m, budget, req, reply); err != nil {
		return c.again(ctx, m, budget, req, reply, err)
	}
	return nil
}

// callOnce makes a call over the current link.
func (c *Conn) callOnce(ctx context.Context, m *Method, budget time.Duration, req Encoder, reply Decoder) error {
	if budget < 0 {
		return failure(m, wire.StatusDeadlineExceeded, nil, "the time was up before it was sent; not executed")
	}
	s, err := c.session(ctx, m)
	if err != nil {
		return err
	}
	use := s.resolve(m)
	p, failed := s.open(ctx, m, use, budget, req, reply, nil)
	if failed != nil {
		return failed
	}
	if err := s.await(ctx, &p.sleep, p); err != nil {
		s.abandon(p, true)
		return failure(m, StatusOf(err), nil, "given up by the caller; it may have been executed")
	}
	if err = s.settle(p); err != nil {
		if e, ok := err.(*Error); ok && e.Remote { // this call's alone
			e.sent, e.life = use, s.life
		}
	}
	return err
}

// Send implements [Caller].
func (c *Conn) Send(ctx context.Context, m *Method, req Encoder) error {
	err := c.sendOnce(ctx, m, req)
	if c.unsent(err) {
		return c.sendOnce(ctx, m, req)
	}
	return err
}

// sendOnce sends a one-way request over the current link.
func (c *Conn) sendOnce(ctx context.Context, m *Method, req Encoder) error {
	if m.Mode != schema.OneWay {
		return failure(m, wire.StatusInvalidArgument, nil, "it is not one-way")
	}
	budget := budgetOf(ctx, c.opts.Timeout)
	if budget < 0 {
		return failure(m, wire.StatusDeadlineExceeded, nil, "the time was up before it was sent")
	}
	s, err := c.session(ctx, m)
	if err != nil {
		// A server that drains takes one-way requests as long as there is none
		// to go to.
		if s = c.current.Load(); !s.draining.Load() || s.dead.Load() != nil {
			return err
		}
	}
	if err := c.ensureBound(ctx, s, m); err != nil {
		return err
	}
	due := noDeadline
	if budget > 0 {
		due = clock() + int64(budget)
	}
	h := wire.Header{Fingerprint: s.resolve(m), Kind: wire.KindEvent, Hops: replyHops}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if failed := s.send(ctx, m, &h, 0, due, req); failed != nil {
		return failed
	}
	return s.flushAll(ctx, m, due)
}

// Stats returns the connection's counters.
func (c *Conn) Stats() ConnStats {
	return ConnStats{Late: c.counts.late.Load(), Reconnects: c.counts.reconnects.Load(), Resent: c.counts.resent.Load()}
}

// Close ends the connection: calls under way end with wire.StatusPeerGone, and
// later ones with wire.StatusUnavailable. It returns when nobody is inside.
func (c *Conn) Close() error {
	c.dialing.close()
	if s := c.current.Load(); s != nil {
		s.die(ErrClosed)
		s.close()
	}
	return nil
}
