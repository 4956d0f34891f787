package serial

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cell-runtime/cell/link"
)

// Acceptor returns the function with which a server takes connections of a line,
// as rpc.Server's Run wants it. A line has one connection at a time, so the
// function waits until the one before was closed, and calls dial then: [Dial], or
// [Connect] on a stream that was opened anew.
//
// Who says a hello that makes no connection ([ErrVersion], [ErrPayload]), or goes
// meanwhile (link.ErrPeerGone), ends no server: dial is called again, after 50 ms
// at first and after a second at most. All other errors of dial are returned.
//
//	err := server.Run(ctx, serial.Acceptor(func(ctx context.Context) (*serial.Conn, error) {
//		return serial.Dial(ctx, "/dev/ttyS1", serial.Mode{Baud: 921600}, nil)
//	}))
//
// The function must not be called by two goroutines at once.
func Acceptor(dial func(context.Context) (*Conn, error)) func(context.Context) (link.Link, error) {
	free := make(chan struct{}, 1)
	free <- struct{}{}
	return func(ctx context.Context) (link.Link, error) {
		select {
		case <-free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		c, err := dialUntilServable(ctx, dial)
		if err != nil {
			free <- struct{}{}
			return nil, err
		}
		return &accepted{Conn: c, free: free}, nil
	}
}

// dialUntilServable dials until the other side is one with which a connection can
// be had, or there is no point in waiting for such a one.
func dialUntilServable(ctx context.Context, dial func(context.Context) (*Conn, error)) (*Conn, error) {
	for pace := dialPace; ; pace = min(2*pace, dialPaceMax) {
		c, err := dial(ctx)
		if err == nil || !errors.Is(err, ErrVersion) && !errors.Is(err, ErrPayload) && !errors.Is(err, link.ErrPeerGone) {
			return c, err
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// accepted is a connection that makes room for the next one.
type accepted struct {
	*Conn
	free chan<- struct{}
	once sync.Once
}

// Close implements link.Link.
func (a *accepted) Close() error {
	err := a.Conn.Close()
	a.once.Do(func() { a.free <- struct{}{} })
	return err
}
