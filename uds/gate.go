package uds

import (
	"context"
	"net"

	"github.com/cell-runtime/cell/link"
)

// Gate listens under a name in the runtime directory and hands every connection
// on as a socket on which nothing has been said: with Broker.Forward, processes
// outside reach the cells of a node, and the node is not in the data path.
type Gate struct{ l *Listener }

// Open begins a gate. take is given each connection that the policy admits and
// who the kernel says is at its other end; it owns the connection and runs on a
// goroutine of its own, of which there are at most Options.MaxPending. Errors:
// those of Listen.
func Open(name string, o *Options, take func(ctx context.Context, c *net.UnixConn, peer link.Peer)) (*Gate, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	d, path, err := locate(s, name)
	if err != nil {
		return nil, err
	}
	l := newListener(name, path, s)
	l.take = take
	if err := l.begin(d); err != nil {
		return nil, err
	}
	return &Gate{l}, nil
}

// Path returns where the socket lies.
func (g *Gate) Path() string { return g.l.path }

// Close stops listening, removes the socket and waits for what was being
// handed on, whose context ends.
func (g *Gate) Close() error { return g.l.Close() }

// handOn gives a connection to a gate's taker.
func (l *Listener) handOn(x *exchange) {
	defer l.work.Done()
	defer func() { <-l.slots }()
	defer l.open.Add(-1)
	l.take(l.ctx, x.c, x.peer)
}
