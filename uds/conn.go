package uds

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/wire"
)

// Conn is one end of a connection between two processes of this host. It is a
// [link.Link]: the rules of that package say who may call what. Its errors tell
// a peer that closed from one that died, and both are link.ErrPeerGone.
type Conn struct {
	// Either st is set (stream path), or tx and rx are.
	st *stream
	tx *ring.Producer
	rx *ring.Consumer

	life

	sendSilence    silence // sender's
	receiveSilence silence // receiver's
	arming         arming

	rings   *rings
	info    link.Info
	onClose []func()
	polling pollSet // of PollWait
	claims  pollSet // of ClaimWait
}

var _ link.Slow = (*Conn)(nil)

// Rings returns the two halves of a connection over rings, or nils on the
// stream path. Whoever uses them directly saves the detour through Conn on
// every call and must see to the peer's life by calling CheckPeer during
// silence; once it or Shutdown has said that the link ended, the halves return
// errors as well.
func (c *Conn) Rings() (*ring.Producer, *ring.Consumer) { return c.tx, c.rx }

// Info implements link.Link. Kind is "ring" or "uds".
func (c *Conn) Info() link.Info { return c.info }

// Claim implements link.Sender.
func (c *Conn) Claim(out []wire.Vesicle, size int) (int, error) {
	if c.state.Load() != stateOpen {
		return 0, link.ErrClosed
	}
	if c.st != nil {
		return c.st.send.claim(out, size)
	}
	n, err := c.tx.Claim(out, size)
	if err != nil {
		return 0, c.claimFailed(err)
	}
	return n, nil
}

// claimFailed looks, now and then, whether a ring is full because nobody reads
// it any more.
func (c *Conn) claimFailed(err error) error {
	if !errors.Is(err, ring.ErrFull) {
		return c.failed(err)
	}
	if c.sendSilence.calls++; c.sendSilence.calls%silentPolls == 0 && c.sendSilence.due() {
		if gone := c.look(); gone != nil {
			return gone
		}
	}
	return link.ErrFull
}

// Commit implements link.Sender.
func (c *Conn) Commit(vs []wire.Vesicle) error {
	switch {
	case c.state.Load() == stateClosed:
		return link.ErrClosed
	case c.st != nil:
		return c.st.send.commit(vs)
	}
	return c.tx.Commit(vs)
}

// Abort implements link.Sender.
func (c *Conn) Abort() {
	switch {
	case c.state.Load() == stateClosed:
	case c.st != nil:
		c.st.send.abort()
	default:
		c.tx.Abort()
	}
}

// Flush implements link.Sender.
func (c *Conn) Flush() error {
	if c.state.Load() != stateOpen {
		return link.ErrClosed
	}
	if c.st != nil {
		return c.st.send.flush()
	}
	if err := c.tx.Flush(); err != nil {
		return c.failed(err)
	}
	return nil
}

// SendStats implements link.Sender.
func (c *Conn) SendStats() link.Stats {
	if c.st != nil {
		return c.st.send.stats
	}
	return statsOf(c.tx.Stats())
}

// Poll implements link.Receiver.
func (c *Conn) Poll(in []wire.Vesicle) (int, error) {
	if c.state.Load() != stateOpen {
		return 0, link.ErrClosed
	}
	if c.st != nil {
		return c.st.receive.poll(in)
	}
	n, err := c.rx.Poll(in)
	if n > 0 {
		c.receiveSilence.calls = 0
		return n, nil
	}
	if err != nil {
		return 0, c.failed(err)
	}
	if c.receiveSilence.calls++; c.receiveSilence.calls%silentPolls == 0 && c.receiveSilence.due() {
		// What the peer published before its end is there by now; the next
		// Poll brings it, or says that the peer is gone.
		_ = c.look()
	}
	return 0, nil
}

// Release implements link.Receiver.
func (c *Conn) Release(n int) error {
	switch {
	case c.state.Load() == stateClosed:
		return link.ErrClosed
	case c.st != nil:
		return c.st.receive.release(n)
	}
	return c.rx.Release(n)
}

// ReceiveStats implements link.Receiver.
func (c *Conn) ReceiveStats() link.Stats {
	if c.st != nil {
		return c.st.receive.stats
	}
	s := statsOf(c.rx.Stats())
	if e := c.cause.Load(); e != nil && errors.Is(e.err, link.ErrCorrupt) {
		s.Corrupt = 1
	}
	return s
}

// CheckPeer implements link.Link: one system call that never blocks.
func (c *Conn) CheckPeer() error {
	if c.state.Load() != stateOpen {
		return link.ErrClosed
	}
	if e := c.cause.Load(); e != nil {
		return e.err
	}
	if c.st != nil {
		return c.st.checkPeer()
	}
	return c.look()
}

// look hears what the peer wrote beside rings: a ring it passes on to whoever
// sleeps, and at the end it stops the rings.
func (c *Conn) look() error {
	rang, err := c.hear()
	if rang {
		c.resound()
	}
	if err != nil {
		c.stopRings(err)
	}
	return c.why(err)
}

// failed explains an error of a ring. A breach that one half found ends both.
func (c *Conn) failed(err error) error {
	if errors.Is(err, ring.ErrTooLarge) || errors.Is(err, ring.ErrOrder) {
		return err
	}
	if errors.Is(err, ring.ErrCorrupt) && c.cause.Load() == nil {
		c.stopRings(c.breached("left a ring that no honest peer leaves"))
	}
	return c.why(err)
}

func (c *Conn) stopRings(why error) {
	gone := errors.Is(why, link.ErrPeerGone)
	c.tx.Stop(gone)
	c.rx.Stop(gone)
}

// Shutdown implements link.Link.
func (c *Conn) Shutdown() {
	if !c.state.CompareAndSwap(stateOpen, stateShut) {
		return
	}
	if c.st == nil {
		c.stopRings(link.ErrClosed)
	}
	c.sayFarewell(farewellClosed)
}

// Close implements link.Link. A second Close does nothing.
func (c *Conn) Close() error {
	c.Shutdown()
	if c.state.Swap(stateClosed) == stateClosed {
		return nil
	}
	var err error
	if c.st != nil {
		err = c.st.close()
	} else {
		err = c.rings.close() // the doorbell first: it rings over the socket
	}
	err = errors.Join(err, unix.Close(c.fd))
	for _, f := range c.onClose {
		f()
	}
	return err
}

func statsOf(s ring.Stats) link.Stats {
	return link.Stats{Vesicles: s.Records, Bytes: s.Bytes, Flushes: s.Flushes, Full: s.Full, Wakes: s.Wakes}
}
