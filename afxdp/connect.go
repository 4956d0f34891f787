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
}

// handshake says hello until the peer has answered to it, or ctx ends. Both
// ends do the same; neither has to be first.
type handshake struct {
	medium  medium
	options Options
	settled
	answered bool
}

func (h *handshake) run(ctx context.Context) error {
	var b [4]byte
	for h.session == 0 {
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		h.session = binary.LittleEndian.Uint32(b[:])
	}
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
	_ = sendHello(h.medium, h.session, h.peer, hello{h.options.Reliable, ask, uint32(h.options.Datagram)})
}

func sendHello(m medium, session, peer uint32, s hello) error {
	var b [helloSize]byte
	front := head{kind: typeHello, session: session, peer: peer}
	front.put(b[:])
	s.put(b[:])
	return m.control(b[:])
}

func (c *Conn) sayHello() {
	if err := sendHello(c.medium, c.session, c.peer, hello{c.reliable, false, uint32(c.datagram)}); err != nil {
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
	if theirs.reliable != h.options.Reliable {
		h.say(false) // so that the peer learns of it too
		return fmt.Errorf("%w: its Options.Reliable is %t; set the same on both ends", ErrMismatch, theirs.reliable)
	}
	if theirs.datagram < minDatagram {
		return fmt.Errorf("%w: it takes datagrams of %d bytes; at least %d are needed", ErrMismatch, theirs.datagram, minDatagram)
	}
	h.peer = front.session
	h.datagram = min(h.options.Datagram, int(min(theirs.datagram, maxDatagram))) &^ (recordAlign - 1)
	h.answered = front.peer == h.session
	if theirs.ask {
		h.say(false)
	}
	return nil
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
