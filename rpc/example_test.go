package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

// A server and a client in one program, over a link within it. Package arith
// stands for what cellgen generates from the user's interface. With uds.Dial
// and a listener's Accept in place of the pipe they are two programs.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	server, err := rpc.NewServer(nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := arith.RegisterArith(server, &arith.Blocking{}); err != nil {
		log.Fatal(err)
	}
	accepted := make(chan link.Link, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- server.Run(ctx, func(ctx context.Context) (link.Link, error) {
			select {
			case l := <-accepted:
				return l, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
	}()

	conn, err := rpc.Connect(ctx, func(context.Context) (link.Link, error) {
		a, b, err := linktest.Pipe(linktest.PipeConfig{})
		if err == nil {
			accepted <- a
		}
		return b, err
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	client := arith.NewArithClient(conn)

	reply, err := client.Add(ctx, arith.AddRequest{A: 2, B: 3})
	fmt.Println(reply.Sum, err)

	stream, err := client.Count(ctx, arith.CountRequest{N: 3})
	if err != nil {
		log.Fatal(err)
	}
	for item, err := range stream.All() {
		fmt.Println("item", item.Value, err)
	}
	end, err := stream.Reply()
	fmt.Println("sent", end.Sent, err)

	_, err = client.Add(ctx, arith.AddRequest{A: 1 << 62, B: 1 << 62})
	fmt.Println(errors.Is(err, wire.StatusOutOfRange), err)

	stop()
	fmt.Println(conn.Close(), <-ended)
	// Output:
	// 5 <nil>
	// item 0 <nil>
	// item 1 <nil>
	// item 2 <nil>
	// sent 3 <nil>
	// true rpc: Arith.Add: out of range: the sum does not fit
	// <nil> context canceled
}

// A handler's error chooses what the caller sees.
func ExampleErrorf() {
	err := rpc.Errorf(wire.StatusNotFound, "no account %d", 7)
	var e *rpc.Error
	fmt.Println(errors.Is(err, wire.StatusNotFound), errors.As(err, &e) && e.Status == rpc.StatusOf(err))
	fmt.Println(err)
	// Output:
	// true true
	// rpc: not found: no account 7
}
