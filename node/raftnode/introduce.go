package raftnode

import (
	"context"

	"github.com/cell-runtime/cell/consensus/cluster/admin"
)

// Introduce tells the member of a runtime directory of TCP addresses at which
// others may be. Error: uds.ErrNoListener where none runs, or the call's.
func Introduce(ctx context.Context, dir string, addrs ...string) error {
	conn, err := dialMember(ctx, dir, AdminName)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = admin.NewRaftClient(conn).Introduce(ctx, admin.Addresses{Addrs: addrs})
	return err
}
