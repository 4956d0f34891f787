package market

import (
	"context"
	"errors"
	"flag"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// Main runs a program of the market until it is told to stop. It refuses flags
// and arguments that the program does not have.
func Main(run func(ctx context.Context) error) {
	if flag.Parse(); flag.NArg() > 0 {
		log.Fatalf("%q: only flags are understood", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// Serve serves what register registers under name until ctx ends. It shows its
// metrics where the environment (CELL_METRICS) or the node says.
func Serve(ctx context.Context, name string, register func(*rpc.Server) error) error {
	file, err := uds.Metrics(metrics.Options{})
	if err != nil {
		return err
	}
	if file != nil {
		defer file.Close()
	}
	server, err := rpc.NewServer(&rpc.ServerOptions{Name: name, Metrics: file, Grace: time.Second})
	if err != nil {
		return err
	}
	defer server.Close()
	if err := register(server); err != nil {
		return err
	}
	l, err := uds.Listen(name, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	return server.Run(ctx, l.AcceptLink)
}

// patience is how long a call waits for a server that isn't there (any more):
// long enough to start it anew.
const patience = time.Second

// Connect connects to the server of that name, which may be started later than
// its client. A connection that is lost is opened anew by the next call.
func Connect(ctx context.Context, name string) (*rpc.Conn, error) {
	for {
		dial := uds.Dialer(name, &uds.Options{WaitForListener: patience})
		conn, err := rpc.Connect(ctx, dial, &rpc.ConnOptions{Timeout: 2 * patience})
		if !errors.Is(err, uds.ErrNoListener) || ctx.Err() != nil {
			return conn, err
		}
		log.Printf("waiting: %v", err)
	}
}
