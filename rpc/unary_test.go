package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"testing"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

func TestUnary(t *testing.T) {
	for _, o := range openers {
		for _, serve := range []struct {
			name string
			do   func(testing.TB, *rpc.Server)
		}{
			{"blocking", func(t testing.TB, s *rpc.Server) { blockingArith(t, s) }},
			{"inline", func(t testing.TB, s *rpc.Server) { viewsArith(t, s) }},
		} {
			t.Run(o.name+"/"+serve.name, func(t *testing.T) {
				s := newServer(t, nil)
				serve.do(t, s)
				c := arith.NewArithClient(connect(t, s, o.open, nil))
				for i := range int64(1000) {
					reply, err := c.Add(soon(t), arith.AddRequest{A: i, B: 2 * i})
					if err != nil || reply.Sum != 3*i {
						t.Fatalf("%d + %d: %d, %v", i, 2*i, reply.Sum, err)
					}
				}
				_, err := c.Add(soon(t), arith.AddRequest{A: math.MaxInt64, B: 1})
				var e *rpc.Error
				if !errors.Is(err, wire.StatusOutOfRange) || !errors.As(err, &e) {
					t.Fatalf("overflow: %v", err)
				}
				if !e.Remote || e.Method != "Arith.Add" || !bytes.Equal(e.Details, []byte{1, 2, 3}) {
					t.Errorf("error %+v", e)
				}
				for _, size := range []int{0, 1, 100, 3000} {
					want := bytes.Repeat([]byte{7}, size)
					got, err := c.Echo(soon(t), arith.Text{Bytes: want})
					if err != nil || !bytes.Equal(got.Bytes, want) {
						t.Fatalf("echo of %d bytes: %d bytes, %v", size, len(got.Bytes), err)
					}
				}
				for word, status := range map[string]wire.Status{
					"panic": wire.StatusInternal, "error": wire.StatusUnknown,
				} {
					if _, err := c.Echo(soon(t), arith.Text{Bytes: []byte(word)}); !errors.Is(err, status) {
						t.Errorf("%s: %v, want %v", word, err, status)
					}
				}
				if got, err := c.Echo(soon(t), arith.Text{Bytes: []byte("deadline")}); err != nil || string(got.Bytes) != "true true" {
					t.Errorf("deadline: %q, %v", got.Bytes, err)
				}
				if got, err := c.Echo(context.Background(), arith.Text{Bytes: []byte("deadline")}); err != nil || got.Bytes[0] != 'f' {
					t.Errorf("no deadline: %q, %v", got.Bytes, err)
				}
			})
		}
	}
}

func TestAsyncUnary(t *testing.T) {
	for _, o := range openers {
		t.Run(o.name, func(t *testing.T) {
			s := newServer(t, nil)
			viewsArith(t, s)
			a, b := o.open(t)
			e := startEngine(t, engine.IdleAdaptive)
			if err := s.Serve(startEngine(t, engine.IdleAdaptive), a); err != nil {
				t.Fatal(err)
			}
			conn, err := rpc.Attach(e, b, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			const calls, window = 10000, 20
			finished := make(chan error, 1)
			if err := e.Do(soon(t), func() { pipeline(conn, calls, window, finished) }); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-finished:
				if err != nil {
					t.Fatal(err)
				}
			case <-soon(t).Done():
				t.Fatal("the calls have not ended")
			}
		})
	}
}

// pipeline keeps window calls under way until calls of them have ended.
func pipeline(conn *rpc.AsyncConn, calls, window int, finished chan<- error) {
	c := arith.NewArithAsync(conn)
	begun, ended := 0, 0
	var done func(uint64, arith.AddReplyView, error)
	begin := func() error {
		req, err := c.BeginAdd()
		if err != nil {
			return err
		}
		req.SetA(int64(begun))
		req.SetB(1)
		begun++
		return c.SendAdd(req, uint64(begun), done)
	}
	done = func(tag uint64, reply arith.AddReplyView, err error) {
		ended++
		if err == nil && reply.Sum() != int64(tag) {
			err = errors.New("wrong sum")
		}
		if err == nil && begun < calls {
			err = begin()
		}
		if err != nil || ended == calls {
			select {
			case finished <- err:
			default:
			}
		}
	}
	for range window {
		if err := begin(); err != nil {
			finished <- err
			return
		}
	}
}
