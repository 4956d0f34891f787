package uds

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// dialNode has the node connect this cell to name. Who is at the other end is
// the node's word.
func dialNode(ctx context.Context, n *node, s *Options, name string) (*Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.HandshakeTimeout,
		fmt.Errorf("no connection within %v (Options.HandshakeTimeout): %w", s.HandshakeTimeout, context.DeadlineExceeded))
	defer cancel()
	a, err := n.call(ctx, &nodeMessage{kind: nodeDial, name: name}, nil)
	if err != nil {
		return nil, err
	}
	if a.m.kind != nodeConnected {
		if a.fd >= 0 {
			unix.Close(a.fd)
		}
		return nil, fmt.Errorf("%w: %v answers a dial", errNodeMessage, a.m.kind)
	}
	c, err := unixConn(a.fd)
	if err != nil {
		return nil, err
	}
	peer := a.m.peer
	peer.Addr = nodePath(name)
	return overSocketOf(ctx, c, s, peer, ringFDs, request)
}

// nodePath is what stands for a path in messages for people.
func nodePath(name string) string { return "node:" + name }

// listenNode serves name by way of the node.
func listenNode(n *node, s *Options, name string) (*Listener, error) {
	l := newListener(name, nodePath(name), s)
	at := &served{come: make(chan arrival, s.MaxPending), end: make(chan struct{})}
	ctx, cancel := context.WithTimeout(l.ctx, s.HandshakeTimeout)
	defer cancel()
	if _, err := n.call(ctx, &nodeMessage{kind: nodeListen, name: name}, at); err != nil {
		l.cancel()
		n.forget(at.id, nil)
		return nil, err
	}
	l.leave = func() error {
		err := n.send(&nodeMessage{kind: nodeUnlisten, id: at.id})
		n.forget(at.id, nil)
		at.drop()
		if errors.Is(err, link.ErrPeerGone) {
			return nil // the name has gone with the node
		}
		return err
	}
	l.work.Add(1)
	go l.runNode(at)
	return l, nil
}

// drop turns away what nobody has taken.
func (l *served) drop() {
	for {
		select {
		case a := <-l.come:
			a.c.Close()
		default:
			return
		}
	}
}

// runNode takes connections that the node hands over, as many at a time as
// there are slots. When the node has gone the listener ends.
func (l *Listener) runNode(from *served) {
	defer l.work.Done()
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.ctx.Done():
			return
		}
		var a arrival
		select {
		case a = <-from.come:
		case <-from.end:
			l.cancel()
			return
		case <-l.ctx.Done():
			return
		}
		a.peer.Addr = l.path
		x, err := l.admitAs(a.c, a.peer)
		if err != nil {
			<-l.slots
			continue
		}
		l.work.Add(1)
		go l.shake(x)
	}
}

// DialSocket connects to the listener of name in the runtime directory and
// says nothing on the socket: for a node that hands it to one of its cells
// (BrokerOptions.Outside). Errors: those of Dial up to the handshake.
func DialSocket(ctx context.Context, name string, o *Options) (*net.UnixConn, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	d, path, err := locate(s, name)
	if err != nil {
		return nil, err
	}
	dir, err := openDir(d, false)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%w as %q: there is no directory %s; start the service, or set %s as it does", ErrNoListener, name, d, EnvDir)
	}
	if err != nil {
		return nil, err
	}
	dir.close()
	ctx, cancel := context.WithTimeout(ctx, s.HandshakeTimeout)
	defer cancel()
	c, _, err := connectAny(ctx, d, path, name)
	return c, err
}

// locate returns the directory and the socket of name.
func locate(s *Options, name string) (dir, path string, err error) {
	if err := ValidateName(name); err != nil {
		return "", "", err
	}
	if dir, err = resolveDir(s.Dir); err != nil {
		return "", "", err
	}
	path, err = socketPath(dir, name)
	return dir, path, err
}
