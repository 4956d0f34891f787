package serial

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// Stream is a byte stream with a descriptor: an *os.File of a tty or PTY, a
// *net.UnixConn, a *net.TCPConn, or what [Open] returns. No one else may read
// from it or write to it while it carries a connection.
type Stream interface {
	syscall.Conn
	io.Closer
}

// Conn is one end of a connection over a byte stream. It is a [link.Link]: the
// rules of that package say who may call what. [Connect] and [Dial] make it.
//
// Bytes that are no frame are dropped and counted, and never end it; what ends
// it, by link.ErrPeerGone, is the end of the stream, a farewell of the peer,
// its starting anew, or its silence where Options.KeepAlive is set.
type Conn struct {
	line   *line
	out    half
	in     inHalf
	window *window // nil without one
	stream Stream
	sleep  sleeper
	poll   [1]unix.PollFd // of CheckPeer
	info   link.Info
}

var _ link.Link = (*Conn)(nil)

// half is the outgoing half, with a window or without.
type half interface {
	claim(out []wire.Vesicle, size int) (int, error)
	commit(vs []wire.Vesicle) error
	abort()
	flush() error
	armSpace(size int) bool
	disarmSpace()
	stats() link.Stats
}

// inHalf is the incoming half.
type inHalf interface {
	poll(in []wire.Vesicle) (int, error)
	release(n int) error
	arm() bool
	disarm()
	tick()
	stats() link.Stats
}

// windowOut and windowIn show a window as two halves.
type (
	windowOut struct{ *window }
	windowIn  struct{ *window }
)

func (w windowOut) armSpace(size int) bool { return w.armOut(size) }
func (w windowOut) disarmSpace()           { w.window.disarm(halfOut) }
func (w windowOut) stats() link.Stats      { return w.sendStats() }
func (w windowIn) arm() bool               { return w.armIn() }
func (w windowIn) disarm()                 { w.window.disarm(halfIn) }
func (w windowIn) stats() link.Stats       { return w.receiveStats() }
func (w windowIn) tick() {
	w.line.mu.Lock()
	w.window.service()
	w.line.mu.Unlock()
}

// Info implements link.Link. Kind is "serial". Reliable is true with a window,
// and without one over streams that lose nothing (sockets and PTYs, unless
// Options.Noisy says otherwise).
func (c *Conn) Info() link.Info { return c.info }

// Claim implements link.Sender.
func (c *Conn) Claim(out []wire.Vesicle, size int) (int, error) { return c.out.claim(out, size) }

// Commit implements link.Sender.
func (c *Conn) Commit(vs []wire.Vesicle) error {
	if c.line.state.Load() == stateClosed {
		return link.ErrClosed
	}
	return c.out.commit(vs)
}

// Abort implements link.Sender.
func (c *Conn) Abort() { c.out.abort() }

// Flush implements link.Sender. With a window, nil means that everything was
// sent once, and no more: the peer may not have it yet.
func (c *Conn) Flush() error { return c.out.flush() }

// SendStats implements link.Sender.
func (c *Conn) SendStats() link.Stats { return c.out.stats() }

// Poll implements link.Receiver.
func (c *Conn) Poll(in []wire.Vesicle) (int, error) { return c.in.poll(in) }

// Release implements link.Receiver.
func (c *Conn) Release(n int) error {
	if c.line.state.Load() == stateClosed {
		return link.ErrClosed
	}
	return c.in.release(n)
}

// ReceiveStats implements link.Receiver. Dropped counts pieces between two
// delimiters that were no frame, each of which may have been a vesicle; with a
// window it stays 0, for they are sent again. LineStats says why they were none.
func (c *Conn) ReceiveStats() link.Stats {
	s := c.in.stats()
	if c.window == nil {
		l := c.LineStats()
		s.Dropped = l.Dropped()
	}
	return s
}

// LineStats returns what the line did so far. It belongs to the receiver's
// goroutine.
func (c *Conn) LineStats() LineStats {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	return c.line.stats
}

// Arm implements link.Receiver.
func (c *Conn) Arm() bool { return c.line.failed() == nil && c.in.arm() }

// Disarm implements link.Receiver.
func (c *Conn) Disarm() {
	if c.line.state.Load() != stateClosed {
		c.in.disarm()
	}
}

// ArmSpace implements link.Sender.
func (c *Conn) ArmSpace(size int) bool { return c.line.failed() == nil && c.out.armSpace(size) }

// DisarmSpace implements link.Sender.
func (c *Conn) DisarmSpace() {
	if c.line.state.Load() != stateClosed {
		c.out.disarmSpace()
	}
}

// WaitFDs implements link.Link: one epoll descriptor.
func (c *Conn) WaitFDs(fds []int) []int {
	if c.line.state.Load() == stateClosed {
		return fds
	}
	return append(fds, c.sleep.epoll)
}

// CheckPeer implements link.Link. Beside looking at the stream it does what is
// to be done at certain times (questions, repetitions).
func (c *Conn) CheckPeer() error {
	if err := c.line.failed(); err != nil {
		return err
	}
	c.sleep.drain()
	c.in.tick()
	if err := c.line.failed(); err != nil {
		return err
	}
	return c.hungUp()
}

// Shutdown implements link.Link. With a window, what was flushed is repeated
// for a while, as long as that gets anywhere; the farewell follows that.
func (c *Conn) Shutdown() {
	if !c.line.state.CompareAndSwap(stateOpen, stateShut) {
		return
	}
	c.sleep.ring()
	if c.window != nil {
		c.window.shutdown()
		return
	}
	c.line.mu.Lock()
	c.line.sayBye()
	c.line.mu.Unlock()
}

// Close implements link.Link. A second Close does nothing. It waits for what
// Shutdown still does (with a window, up to five seconds), and closes the
// stream; a tty's driver may wait for what was written to leave (up to
// 30 seconds where the other side holds RTS down).
func (c *Conn) Close() error {
	c.Shutdown()
	if c.window != nil {
		<-c.window.done
	}
	if c.line.state.Swap(stateClosed) == stateClosed {
		return nil
	}
	var err error
	if c.window != nil {
		err = c.window.dismiss()
	}
	return errors.Join(err, c.sleep.close(), c.stream.Close())
}
