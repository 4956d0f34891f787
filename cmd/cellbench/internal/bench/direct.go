package bench

import (
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// The two ends of a round trip over rings in spin mode, spelled out: calls of
// the ring and nothing between them, as a user writes it who counts
// nanoseconds. end.echo and caller.once do the same over any link.

// look asks whether the peer still lives; what it published before its end is
// still polled, so that end alone is no error here.
func (e *end) look() error {
	if err := e.conn.CheckPeer(); err != nil && !errors.Is(err, link.ErrPeerGone) {
		return err
	}
	return nil
}

// onceDirect makes one call.
func (c *caller) onceDirect() error {
	place(c.out[0].Payload, c.payload)
	c.out[0].Header.Correlation = c.id
	if err := c.tx.Commit(c.out[:]); err != nil {
		return err
	}
	if err := c.tx.Flush(); err != nil {
		return err
	}
	// The last answer has been looked at; giving it back, and claiming the
	// next place, cost nothing while this call is under way.
	if c.id != 0 {
		if err := c.rx.Release(1); err != nil {
			return err
		}
	}
	if _, err := c.claim(c.out[:], len(c.payload)); err != nil {
		return err
	}
	for spins := 1; ; spins++ {
		if n, err := c.rx.Poll(c.in[:]); n != 0 {
			break
		} else if err != nil {
			return err
		}
		sched.Pause()
		if spins%spinsPerLook == 0 {
			if err := c.look(); err != nil {
				return err
			}
		}
	}
	h := &c.in[0].Header
	if h.Correlation != c.id || h.Kind != wire.KindReply || len(c.in[0].Payload) != len(c.payload) {
		return c.unexpected()
	}
	c.id++
	return nil
}

func (c *caller) unexpected() error {
	h := &c.in[0].Header
	return fmt.Errorf("call %d: got a vesicle of kind %d, correlation %d, %d bytes; sent %d bytes",
		c.id, h.Kind, h.Correlation, len(c.in[0].Payload), len(c.payload))
}

// echoDirect sends every vesicle back until the caller ends.
func (e *end) echoDirect(payload int) error {
	var in, out [1]wire.Vesicle
	tx, rx := e.tx, e.rx
	out[0].Header = wire.Header{Fingerprint: fingerprint, Kind: wire.KindReply, Hops: 1}
	for {
		if _, err := e.claim(out[:], payload); err != nil {
			return err
		}
		for spins := 1; ; spins++ {
			if n, err := rx.Poll(in[:]); n != 0 {
				break
			} else if err != nil {
				return err
			}
			sched.Pause()
			if spins%spinsPerLook == 0 {
				if err := e.look(); err != nil {
					return err
				}
			}
		}
		if in[0].Header.Kind == wire.KindControl || len(in[0].Payload) != payload {
			tx.Abort()
			return rx.Release(1)
		}
		place(out[0].Payload, in[0].Payload)
		out[0].Header.Correlation = in[0].Header.Correlation
		if err := tx.Commit(out[:]); err != nil {
			return err
		}
		if err := tx.Flush(); err != nil {
			return err
		}
		if err := rx.Release(1); err != nil {
			return err
		}
	}
}
