// Command math-server serves the math example until it is told to stop.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/cell-runtime/cell/examples/math"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

func main() {
	if len(os.Args) > 1 {
		log.Fatalf("%q: math-server takes no arguments", os.Args[1])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// serve serves until ctx ends.
func serve(ctx context.Context) error {
	server, err := rpc.NewServer(nil)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := math.RegisterMath(server, math.Calculator{}); err != nil {
		return err
	}
	l, err := uds.Listen(math.Name, nil)
	if err != nil {
		return err
	}
	defer l.Close() // removes the socket
	return server.Run(ctx, l.AcceptLink)
}
