package serial_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cell-runtime/cell/serial"
	"github.com/cell-runtime/cell/serial/serialtest"
)

// A server takes one connection after the other of its line.
func TestAcceptor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opened := 0
	far := make(chan *serial.Conn, 1)
	accept := serial.Acceptor(func(ctx context.Context) (*serial.Conn, error) {
		if opened++; opened == 2 {
			return nil, errors.New("no line")
		}
		p, q, err := serialtest.SocketPair()
		if err != nil {
			return nil, err
		}
		go func() {
			c, err := serial.Connect(ctx, q, nil)
			if err != nil {
				t.Error(err)
			}
			far <- c
		}()
		return serial.Connect(ctx, p, nil)
	})
	first, err := accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer (<-far).Close()
	soon, stop := context.WithTimeout(ctx, 20*time.Millisecond)
	defer stop()
	if l, err := accept(soon); !errors.Is(err, context.DeadlineExceeded) || opened != 1 {
		t.Errorf("while there is a connection: %v, %v, opened %d times", l, err, opened)
	}
	for range 2 { // closing again makes no more room
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	if l, err := accept(ctx); err == nil || l != nil {
		t.Errorf("without a line: %v, %v", l, err)
	}
	last, err := accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	defer (<-far).Close()
}

// Who can't be served ends no server: the next one on the line is.
func TestAcceptorOutlivesBadHellos(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bad := []func(q serial.Stream){
		func(q serial.Stream) { say(q, serial.HelloOfVersion(9)) },
		func(q serial.Stream) { say(q, serial.HelloOfPayload(3)) },
		func(q serial.Stream) { q.Close() },
	}
	opened := 0
	far := make(chan *serial.Conn, 1)
	accept := serial.Acceptor(func(ctx context.Context) (*serial.Conn, error) {
		p, q, err := serialtest.SocketPair()
		if err != nil {
			return nil, err
		}
		if opened++; opened <= len(bad) {
			bad[opened-1](q)
		} else {
			go func() {
				c, err := serial.Connect(ctx, q, nil)
				if err != nil {
					t.Error(err)
				}
				far <- c
			}()
		}
		c, err := serial.Connect(ctx, p, nil)
		if err != nil {
			err = errors.Join(err, p.Close())
		}
		return c, err
	})
	c, err := accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer (<-far).Close()
	if opened != len(bad)+1 {
		t.Errorf("opened %d times", opened)
	}
}

// With nobody but such a one on the line, the server ends when it is told to, and
// says why nobody came.
func TestAcceptorEndsWhileHellosAreBad(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	accept := serial.Acceptor(func(context.Context) (*serial.Conn, error) { return nil, serial.ErrVersion })
	if _, err := accept(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, serial.ErrVersion) {
		t.Error(err)
	}
}

func say(q serial.Stream, b []byte) { _, _ = q.(interface{ Write([]byte) (int, error) }).Write(b) }
