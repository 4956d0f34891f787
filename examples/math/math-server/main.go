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
	"github.com/cell-runtime/cell/wire"
)

// calculator implements math.Math. Its methods run on goroutines of the
// server's pool, several at once.
type calculator struct{}

func (calculator) Divide(_ context.Context, req math.Division) (math.Quotient, error) {
	if req.Divisor == 0 {
		return math.Quotient{}, rpc.Errorf(wire.StatusInvalidArgument, "%d can't be divided by 0", req.Dividend)
	}
	return math.Quotient{Value: req.Dividend / req.Divisor, Remainder: req.Dividend % req.Divisor}, nil
}

func (calculator) Mean(_ context.Context, req math.Values) (math.Mean, error) {
	if len(req.All) == 0 {
		return math.Mean{}, rpc.Errorf(wire.StatusInvalidArgument, "no values have no mean")
	}
	var sum float64
	for _, v := range req.All {
		sum += v
	}
	return math.Mean{Value: sum / float64(len(req.All))}, nil
}

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
	if err := math.RegisterMath(server, calculator{}); err != nil {
		return err
	}
	l, err := uds.Listen(math.Name, nil)
	if err != nil {
		return err
	}
	defer l.Close() // removes the socket
	return server.Run(ctx, l.AcceptLink)
}
