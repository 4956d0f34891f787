package raftnode

import (
	"context"

	"github.com/cell-runtime/cell/consensus/cluster/admin"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// Introduce tells the member of a runtime directory of TCP addresses at which
// others may be. Error: uds.ErrNoListener where none runs, or the call's.
func Introduce(ctx context.Context, dir string, addrs ...string) error {
	conn, err := rpc.Connect(ctx, func(ctx context.Context) (link.Link, error) {
		return uds.Dial(ctx, AdminName, &uds.Options{Dir: dir})
	}, &rpc.ConnOptions{Wait: rpc.WaitPark, Name: "node"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = admin.NewRaftClient(conn).Introduce(ctx, admin.Addresses{Addrs: addrs})
	return err
}
