package rpc

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// dialing is how a connection gets a new link when one is lost. One caller
// dials, on its own goroutine; others wait for it.
type dialing struct {
	dial  DialFunc      // nil: there is no other link
	lock  chan struct{} // holds one token while nobody dials
	ended chan struct{} // closed by Close
	next  time.Time     // no attempt before
	pause time.Duration // after the next failure
	least time.Duration
	most  time.Duration
}

func (d *dialing) init(o *ConnOptions) {
	d.lock = make(chan struct{}, 1)
	d.lock <- struct{}{}
	d.ended = make(chan struct{})
	d.least, d.most, d.pause = o.BackoffMin, o.BackoffMax, o.BackoffMin
}

func (d *dialing) close() {
	<-d.lock
	defer func() { d.lock <- struct{}{} }()
	select {
	case <-d.ended:
	default:
		close(d.ended)
	}
}

// session returns the link's session, a new one if it was lost.
func (c *Conn) session(ctx context.Context, m *Method) (*session, error) {
	s := c.current.Load()
	if s.glance(); s.usable() {
		return s, nil
	}
	return c.reconnect(ctx, m)
}

// reconnect opens a new link, unless the last failure was too recent: then the
// call fails at once, since whoever wants to wait can.
func (c *Conn) reconnect(ctx context.Context, m *Method) (*session, error) {
	d := &c.dialing
	select {
	case <-d.lock:
		defer func() { d.lock <- struct{}{} }()
	case <-ctx.Done():
		return nil, failure(m, StatusOf(ctx.Err()), nil, "the link is being opened anew; not executed")
	}
	old := c.current.Load()
	if old.usable() {
		return old, nil // another caller has done it
	}
	dead := old.dead.Load()
	if dead == nil {
		dead = &deadLink{errLeft}
		d.spare(old)
	}
	select {
	case <-d.ended:
		return nil, failure(m, wire.StatusUnavailable, ErrClosed, "not sent")
	default:
	}
	if d.dial == nil {
		return nil, failure(m, wire.StatusUnavailable, dead.err, "the link was lost and this connection can't open another; use Connect")
	}
	if wait := time.Until(d.next); wait > 0 {
		failed := failure(m, wire.StatusUnavailable, dead.err, "the link was lost; the next attempt to open it is in %v", wait)
		failed.wait = wait
		return nil, failed
	}
	l, err := d.dial(ctx)
	if err != nil {
		wait := d.pause/2 + rand.N(d.pause/2+1)
		d.next, d.pause = time.Now().Add(wait), min(2*d.pause, d.most)
		failed := failure(m, wire.StatusUnavailable, err, "the link can't be opened")
		failed.wait = wait
		return nil, failed
	}
	d.next, d.pause = time.Time{}, d.least
	c.counts.reconnects.Add(1)
	s := newSession(c, l)
	c.current.Store(s)
	go old.leave() // as soon as nobody is inside
	return s, nil
}

// spare has the next attempt wait if the link that is left was opened just now:
// whoever drains has no successor yet.
func (d *dialing) spare(old *session) {
	if d.next.IsZero() && time.Since(old.born) < settleTime {
		d.next, d.pause = time.Now().Add(d.pause/2+rand.N(d.pause/2+1)), min(2*d.pause, d.most)
	}
}

// maxResends bounds how often one call is sent again, but for servers that
// drain: those have not touched it, and each may be replaced while others are.
const (
	maxResends = 3
	maxMoves   = 8
)

// again decides about a call that failed. It is sent again, within its budget,
// if the link was lost and sending it twice does no harm, and if the server
// knew nothing of this form of the method but serves an earlier one. One may
// follow the other: whoever takes a lost server's place may be older.
func (c *Conn) again(ctx context.Context, m *Method, budget time.Duration, req Encoder, reply Decoder, err error) error {
	began := time.Now()
	for tries, moves := 0, 0; tries < maxResends && moves < maxMoves; {
		if leaves(err) {
			moves++
		} else {
			tries++
		}
		refused := refusedAsUnknown(m, err)
		if refused != nil {
			err = c.rebind(ctx, m, refused)
		}
		if err != nil {
			e := c.mayResend(m, err)
			if e == nil {
				return err
			}
			if budget > 0 && budget-time.Since(began) <= e.wait || e.wait > 0 && !sleep(ctx, e.wait) {
				return err
			}
		}
		if refused == nil {
			c.counts.resent.Add(1)
		}
		left := budget
		if budget > 0 {
			if left -= time.Since(began); left == 0 {
				left = -1 // 0 is no bound
			}
		}
		if err = c.callOnce(ctx, m, left, req, reply); err == nil {
			return nil
		}
	}
	return err
}

// mayResend returns the failure if the call may be sent again: that of an
// idempotent method whose link was lost, here or behind a forwarder, and that of any which was never sent
// because the link was gone already, or which a server refused that drains.
func (c *Conn) mayResend(m *Method, err error) *Error {
	e, ok := err.(*Error) // this package's own, unwrapped
	switch {
	case !ok || c.dialing.dial == nil || m.Mode != schema.Unary:
		return nil
	case leaves(err):
		return e // not executed, and there is a place to go to
	case e.Remote && e.Status == wire.StatusPeerGone && m.Idempotent:
		return e // who forwards has lost whom it forwarded to
	case e.Remote:
		return nil
	case m.Idempotent && e.Status == wire.StatusPeerGone,
		m.Idempotent && e.Status == wire.StatusUnavailable,
		c.unsent(e): // one attempt, at once
		return e
	}
	return nil
}

// unsent reports whether something failed before anything of it was sent, on a
// link that turned out to be lost: another link may take it, once and at once.
func (c *Conn) unsent(err error) bool {
	e, ok := err.(*Error) // this package's own, unwrapped
	return ok && c.dialing.dial != nil && !e.Remote && e.Status == wire.StatusUnavailable && e.wait == 0
}

// sleep waits and reports whether ctx lasted as long.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
