package uds

import (
	"context"
	"errors"
	"time"

	"github.com/cell-runtime/cell/link"
)

// Dialer returns a function that dials name as Dial does and returns the
// connection as a link: what rpc.Connect takes.
func Dialer(name string, o *Options) func(ctx context.Context) (link.Link, error) {
	return func(ctx context.Context) (link.Link, error) {
		c, err := Dial(ctx, name, o)
		if err != nil {
			return nil, err // not c: a link that holds a nil *Conn is not nil
		}
		return c, nil
	}
}

// AcceptLink is Accept with the connection as a link: what Run and Accept of an
// rpc.Server take.
func (l *Listener) AcceptLink(ctx context.Context) (link.Link, error) {
	c, err := l.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// patiently dials until somebody listens, for as long as wait, and ctx, allow. One
// that dies while it is dialed is waited for like one that did so before.
func patiently(ctx context.Context, wait time.Duration, dial func() (*Conn, error)) (*Conn, error) {
	until := time.Now().Add(wait)
	var last error // that nobody listens, or not any more: says more than that the time is up
	for {
		c, err := dial()
		if last != nil && errors.Is(err, context.DeadlineExceeded) {
			return nil, last
		}
		last = err
		if wait <= 0 || !errors.Is(err, ErrNoListener) && !errors.Is(err, link.ErrPeerGone) || time.Now().After(until) {
			return c, err
		}
		select {
		case <-time.After(dialPaceMax):
		case <-ctx.Done():
			return nil, err // says more than the context does
		}
	}
}
