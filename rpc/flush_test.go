package rpc_test

import (
	"bytes"
	"testing"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/uds"
)

// TestParkedCallerFlushesOn makes calls that a socket takes in several parts,
// each when the server has read what came before, by callers that sleep
// meanwhile and whom nothing but a descriptor wakes.
func TestParkedCallerFlushesOn(t *testing.T) {
	rpc.NeverTryByTheClock(t)
	s := newServer(t, nil)
	blockingArith(t, s)
	a, b := openUDSFor(t, uds.PathStream, 2<<20)
	if err := s.Serve(startEngine(t, engine.IdlePark), a); err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.NewConn(b, &rpc.ConnOptions{Wait: rpc.WaitPark})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := arith.NewArithClient(conn)
	failed := make(chan error, 2)
	for i := range byte(2) { // one of the two sleeps while the other one sends
		go func() {
			want := bytes.Repeat([]byte{i}, 1<<20)
			for range 3 {
				got, err := c.Echo(soon(t), arith.Text{Bytes: want})
				if err != nil || !bytes.Equal(got.Bytes, want) {
					t.Errorf("%d bytes came back, %v", len(got.Bytes), err)
				}
			}
			failed <- err
		}()
	}
	<-failed
	<-failed
}
