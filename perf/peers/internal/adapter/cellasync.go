package adapter

import (
	"context"
	"errors"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/perf/peers/internal/echo"
	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// cellAsync is a client on an engine's thread: each answer's callback makes the
// next call.
type cellAsync struct {
	peer.Unsupported
	e    *engine.Engine
	conn *rpc.AsyncConn
	c    *echo.Async
	gone chan error
}

func (m cellRPC) attach(set peer.Setting, addr string) (peer.Client, error) {
	e, err := m.newEngine()
	if err != nil {
		return nil, err
	}
	l, err := uds.Dial(context.Background(), addr, m.options(set))
	if err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	a := &cellAsync{e: e, gone: make(chan error, 1)}
	a.conn, err = rpc.Attach(e, l, m.connOptions(), func(err error) { a.gone <- err })
	if err != nil {
		return nil, errors.Join(err, l.Close(), e.Stop())
	}
	return a, e.Do(context.Background(), func() { a.c = echo.NewAsync(a.conn) })
}

// onEngine runs f on the thread and waits until done is told how it ended.
func (a *cellAsync) onEngine(f func(done func(error))) error {
	ended := make(chan error, 1)
	done := func(err error) {
		select {
		case ended <- err:
		default: // told already
		}
	}
	if err := a.e.Do(context.Background(), func() { f(done) }); err != nil {
		return err
	}
	return <-ended
}

// Call implements peer.Client.
func (a *cellAsync) Call(request []byte) (reply []byte, err error) {
	err = a.RoundTrips(request, func(r []byte) (bool, error) {
		reply = append(reply[:0], r...)
		return false, nil
	})
	return reply, err
}

// RoundTrips implements peer.Driver.
func (a *cellAsync) RoundTrips(request []byte, each func(reply []byte) (again bool, err error)) error {
	return a.onEngine(func(done func(error)) {
		var answered func([]byte, error)
		answered = func(reply []byte, err error) {
			again := false
			if err == nil {
				again, err = each(reply)
			}
			if err == nil && again {
				err = a.c.Echo(request, answered)
			}
			if err != nil || !again {
				done(err)
			}
		}
		if err := a.c.Echo(request, answered); err != nil {
			done(err)
		}
	})
}

// Pipeline implements peer.Client.
func (a *cellAsync) Pipeline(request []byte, more peer.More) (n uint64, err error) {
	err = a.onEngine(func(done func(error)) {
		under, stop := 0, false
		var answered func([]byte, error)
		fill := func() {
			for !stop && under < peer.Window {
				err := a.c.Echo(request, answered)
				if errors.Is(err, link.ErrFull) && under > 0 {
					return // the next answer makes room
				}
				if err != nil {
					done(err)
					stop = true
					return
				}
				under++
			}
		}
		answered = func(reply []byte, err error) {
			if err != nil {
				done(err)
				stop = true
				return
			}
			peer.Touch(reply)
			under--
			if n++; n%peer.Window == 0 && !more(n) {
				stop = true
			}
			if fill(); stop && under == 0 {
				done(nil)
			}
		}
		fill()
	})
	return n, err
}

// Close implements peer.Client.
func (a *cellAsync) Close() error { return errors.Join(a.conn.Close(), a.e.Stop()) }
