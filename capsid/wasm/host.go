package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

const (
	hostArg   = "cell-wasm-host"
	maxModule = 64 << 20
	grace     = time.Second // for callers to leave by themselves
)

// hosting: this program calls Main.
var hosting bool

// Main runs a module, if this process was started for that by a Backend, and
// does not return then. A program that uses the backend calls it before
// anything else.
func Main() {
	hosting = true
	if len(os.Args) < 4 || os.Args[1] != hostArg {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := host(ctx, os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// host serves name by the module at path until the node has gone, and tells what
// the descriptions say of it.
func host(ctx context.Context, name, path string, descriptions []string) error {
	binary, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	e, err := New(ctx, Options{Log: func(text string) { fmt.Println(text) }})
	if err != nil {
		return err
	}
	m, err := e.Compile(ctx, binary)
	if err != nil {
		return err
	}
	server, err := m.Server(name, descriptions...)
	if err != nil {
		return err
	}
	l, err := uds.Listen(name, nil)
	if err != nil {
		return err
	}
	if err := uds.Ready(); err != nil {
		return err
	}
	if err = server.Run(ctx, l.AcceptLink); ctx.Err() != nil || errors.Is(err, uds.ErrListenerClosed) {
		return nil // asked to end, or with the node
	}
	return err
}

// Server returns a server whose calls the module answers: one instance for each
// connection, all on the server's engine, so that a guest that loops is missed by
// whoever asks for its health. descriptions are paths of what it tells of itself.
func (m *Module) Server(name string, descriptions ...string) (*rpc.Server, error) {
	server, err := rpc.NewServer(&rpc.ServerOptions{Name: name, Relay: relay{m}, Grace: grace})
	if err != nil {
		return nil, err
	}
	for _, path := range descriptions {
		services, err := describe(path)
		if err != nil {
			return nil, err
		}
		for _, s := range services {
			if err := server.Announce(s); err != nil {
				return nil, err
			}
		}
	}
	return server, nil
}

// describe reads a description.
func describe(path string) ([]*rpc.ServiceDesc, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	services, err := rpc.ParseServices(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return services, nil
}
