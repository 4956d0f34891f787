package main

import (
	"context"
	"fmt"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// serve serves versions side by side until ctx ends. Each has fingerprints of
// its own, so nothing has to be said about which call is whose.
func serve(ctx context.Context, name string, versions []version) error {
	server, err := rpc.NewServer(nil)
	if err != nil {
		return err
	}
	defer server.Close()
	for _, v := range versions {
		if err := v.register(server); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	l, err := uds.Listen(name, nil)
	if err != nil {
		return err
	}
	defer l.Close() // removes the socket
	return server.Run(ctx, l.AcceptLink)
}
