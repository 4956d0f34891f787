package kv

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// Dial returns a client of the store whose members are reached by dialling.
// Nobody is dialled before the first call, and none of them need be there then,
// as long as one is. Close the client with [Client.Hang].
func Dial(o *rpc.ConnOptions, members ...rpc.DialFunc) *Client {
	c := NewClient()
	for _, dial := range members {
		l := &lazy{dial: dial, o: o, opening: newTurn()}
		c.members = append(c.members, NewKVClient(l))
		c.hang = append(c.hang, l.close)
	}
	return c
}

// Hang closes the connections of a client that [Dial] made.
func (c *Client) Hang() error {
	c.mu.Lock()
	hang := slices.Clone(c.hang)
	c.mu.Unlock()
	var all []error
	for _, f := range hang {
		all = append(all, f())
	}
	return errors.Join(all...)
}

// lazy is a connection that is opened when it is first used, and then opens
// itself again.
type lazy struct {
	dial rpc.DialFunc
	o    *rpc.ConnOptions

	opening turn
	mu      sync.Mutex
	conn    *rpc.Conn
}

func (l *lazy) open(ctx context.Context) (*rpc.Conn, error) {
	if c := l.opened(); c != nil {
		return c, nil
	}
	if err := l.opening.take(ctx); err != nil {
		return nil, err
	}
	defer l.opening.give()
	if c := l.opened(); c != nil { // by somebody else meanwhile
		return c, nil
	}
	c, err := rpc.Connect(ctx, l.dial, l.o)
	if err != nil {
		return nil, rpc.Errorf(wire.StatusUnavailable, "the member can't be reached: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = c
	return c, nil
}

func (l *lazy) opened() *rpc.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

func (l *lazy) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return nil
	}
	return l.conn.Close()
}

// Call implements [rpc.Caller].
func (l *lazy) Call(ctx context.Context, m *rpc.Method, req rpc.Encoder, reply rpc.Decoder) error {
	c, err := l.open(ctx)
	if err != nil {
		return err
	}
	return c.Call(ctx, m, req, reply)
}

// Send implements [rpc.Caller].
func (l *lazy) Send(ctx context.Context, m *rpc.Method, req rpc.Encoder) error {
	c, err := l.open(ctx)
	if err != nil {
		return err
	}
	return c.Send(ctx, m, req)
}

// Stream implements [rpc.Caller].
func (l *lazy) Stream(ctx context.Context, m *rpc.Method, req rpc.Encoder) (rpc.Stream, error) {
	c, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	return c.Stream(ctx, m, req)
}

// Subscribe implements [rpc.Caller].
func (l *lazy) Subscribe(ctx context.Context, m *rpc.Method, o rpc.SubscribeOptions) (rpc.Subscription, error) {
	c, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	return c.Subscribe(ctx, m, o)
}
