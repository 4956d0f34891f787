package afxdp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// ErrMismatch: the two ends are set up differently (Options.Reliable), or the
// peer takes no datagrams of a useful size.
var ErrMismatch = errors.New("afxdp: the peer is set up otherwise")

// helloPace is how long an answer to a hello may take before another is sent.
const helloPace = 20 * time.Millisecond

// settled is what a handshake has found.
type settled struct {
	session, peer uint32
	datagram      int
	whole         bool // the peer has asked for that: Options.whole
}

// handshake says hello until the peer has answered to it, or ctx ends. Both
// ends do the same; neither has to be first.
type handshake struct {
	medium  medium
	options Options
	settled
	cookie   uint64 // what the peer wants to hear with our hello
	answered bool
}

// newSession is a number at random that is not 0.
func newSession() (n uint32) {
	var b [4]byte
	for n == 0 {
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		n = binary.LittleEndian.Uint32(b[:])
	}
	return n
}

func (h *handshake) run(ctx context.Context) error {
	h.session = newSession()
	h.datagram = h.options.Datagram
	for !h.answered {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("afxdp: the peer has not answered: %w (is it started, with our address as its peer's, and does a firewall let UDP through?)", context.Cause(ctx))
		}
		h.say(true)
		for end := time.Now().Add(helloPace); !h.answered && time.Now().Before(end) && ctx.Err() == nil; {
			var fds []unix.PollFd
			for _, fd := range h.medium.fds() {
				fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			}
			if _, err := unix.Poll(fds, 5); err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("afxdp: waiting for the peer: %w", err)
			}
			if err := h.receive(); err != nil {
				return err
			}
		}
	}
	return nil
}

// say ignores what becomes of it: it is said again until it has been answered.
func (h *handshake) say(ask bool) {
	b := helloDatagram(h.session, h.peer, h.cookie, hello{reliable: h.options.Reliable, ask: ask, whole: h.options.whole, datagram: uint32(h.options.Datagram)})
	_ = h.medium.control(b[:])
}

func helloDatagram(session, peer uint32, cookie uint64, s hello) (b [helloSize]byte) {
	front := head{kind: typeHello, session: session, peer: peer, here: cookie}
	front.put(b[:])
	s.put(b[:])
	return b
}

func (c *Conn) sayHello() {
	b := helloDatagram(c.session, c.peer, 0, hello{reliable: c.reliable, whole: c.whole, datagram: uint32(c.datagram)})
	if err := c.medium.control(b[:]); err != nil {
		c.mediumFailed(err)
	}
}

func (h *handshake) receive() error {
	h.medium.rouse()
	var batch [1]inFrame // what follows an answer is the connection's
	for !h.answered {
		n, err := h.medium.receive(batch[:])
		if err != nil && !errors.Is(err, errRefused) { // not there yet
			return err
		}
		if n == 0 {
			return nil
		}
		err = h.take(batch[0].buf)
		h.medium.recycle(batch[0])
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *handshake) take(b []byte) error {
	front, err := getHead(b)
	if err != nil {
		return nil
	}
	if front.kind != typeHello {
		// Left over from an older connection, or the answer was overtaken.
		h.answered = h.peer != 0 && front.session == h.peer && front.peer == h.session
		return nil
	}
	theirs := getHello(b)
	if err := theirs.suits(&h.options); err != nil {
		h.peer = front.session
		h.say(false) // so that the peer learns of it too
		if front.peer != h.session {
			return nil // it does not know us, and may be anybody
		}
		return err
	}
	if theirs.challenge {
		if front.peer == h.session && front.here != h.cookie {
			h.cookie = front.here
			h.say(true)
		}
		return nil
	}
	h.peer = front.session
	h.datagram, h.whole = theirs.common(&h.options), theirs.whole
	h.answered = front.peer == h.session
	if theirs.ask {
		h.say(false)
	}
	return nil
}

// suits says whether a connection with who said h can be.
func (h *hello) suits(o *Options) error {
	switch {
	case h.reliable != o.Reliable:
		return fmt.Errorf("%w: its Options.Reliable is %t; set the same on both ends", ErrMismatch, h.reliable)
	case h.datagram < minDatagram:
		return fmt.Errorf("%w: it takes datagrams of %d bytes; at least %d are needed", ErrMismatch, h.datagram, minDatagram)
	}
	return nil
}

// common is the size of datagrams for both ends.
func (h *hello) common(o *Options) int {
	return min(o.Datagram, int(min(h.datagram, maxDatagram))) &^ (recordAlign - 1)
}

// connect shakes hands over m, which it owns, and makes a connection.
func connect(ctx context.Context, m medium, o Options, info link.Info) (*Conn, error) {
	h := &handshake{medium: m, options: o}
	err := h.run(ctx)
	var c *Conn
	if err == nil {
		c, err = newConn(m, o, h.settled, info)
	}
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return c, nil
}
