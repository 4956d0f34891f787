package serial

import (
	"context"
	"sync"

	"github.com/cell-runtime/cell/link"
)

// Acceptor returns the function with which a server takes connections of a line,
// as rpc.Server's Run wants it. A line has one connection at a time, so the
// function waits until the one before was closed, and calls dial then: [Dial], or
// [Connect] on a stream that was opened anew. Its errors are those of dial.
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
		c, err := dial(ctx)
		if err != nil {
			free <- struct{}{}
			return nil, err
		}
		return &accepted{Conn: c, free: free}, nil
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
