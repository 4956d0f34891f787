package quic

import (
	"context"
	"errors"
	"fmt"
	"net"

	quicgo "github.com/quic-go/quic-go"
)

// Move takes the connections that this endpoint has dialed to another local
// address, without interrupting what goes on over them (RFC 9000, section 9):
// the new path is probed first, and whatever is under way then continues there.
// addr is as for [Listen]. Peers that have dialed this endpoint still reach it
// where they did; new connections are dialed from the new address.
//
// Most nodes never need it: an endpoint that listens on all addresses follows
// its host by itself, since the kernel chooses the address for each packet.
// It returns how many connections were moved; those that could not be stay
// where they are, and the error says why.
func (e *Endpoint) Move(ctx context.Context, addr string) (moved int, err error) {
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return 0, fmt.Errorf("quic: address %q: %w", addr, err)
	}
	socket, err := net.ListenUDP("udp", at)
	if err != nil {
		return 0, fmt.Errorf("quic: moving: %w", err)
	}
	t := e.newTransport(socket)
	e.mu.Lock()
	select {
	case <-e.closed:
		e.mu.Unlock()
		return 0, errors.Join(ErrClosed, socket.Close())
	default:
	}
	e.moved = append(e.moved, movedTo{t, socket})
	e.mu.Unlock()
	var failed []error
	for _, c := range e.all() {
		if !c.dialed {
			continue
		}
		if err := c.move(ctx, t); err != nil {
			failed = append(failed, fmt.Errorf("quic: moving the connection to %v: %w", nameOf(c.peer.ID), err))
			continue
		}
		moved++
	}
	return moved, errors.Join(failed...)
}

// movedTo is a socket that the endpoint has moved to. Those it has left stay
// open for who stays there.
type movedTo struct {
	transport *quicgo.Transport
	socket    *net.UDPConn
}

func (m movedTo) close() error { return errors.Join(m.transport.Close(), m.socket.Close()) }

func (c *conn) move(ctx context.Context, t *quicgo.Transport) error {
	path, err := c.q.AddPath(t)
	if err != nil {
		return err
	}
	if err := path.Probe(ctx); err != nil {
		_ = path.Close()
		return err
	}
	return path.Switch()
}

// dialer returns the transport by which new connections are dialed.
func (e *Endpoint) dialer() *quicgo.Transport {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.moved); n > 0 {
		return e.moved[n-1].transport
	}
	return e.transport
}
