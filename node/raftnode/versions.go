package raftnode

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/cluster"
	"github.com/cell-runtime/cell/consensus/cluster/admin"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// Version is a version of a cell that a node has, as the cluster's table says.
type Version struct {
	Node    string `json:"node,omitempty"` // empty in the table, where the key has it
	Cell    string `json:"cell"`
	Version string `json:"version"`
	State   string `json:"state"`   // ready, asleep, starting, refused
	Current bool   `json:"current"` // new callers reach it
}

// SetVersions writes into the cluster's table what this node's cells are, by the
// member of its runtime directory, if the table says otherwise. Error:
// uds.ErrNoListener where no member runs, consensus.ErrNoGroup while there is no
// cluster, or the call's.
func SetVersions(ctx context.Context, dir string, all []Version) error {
	value, err := json.Marshal(all)
	if err != nil {
		return err
	}
	conn, err := dialMember(ctx, dir, AdminName)
	if err != nil {
		return err
	}
	defer conn.Close()
	self, err := admin.NewRaftClient(conn).Status(ctx)
	if err == nil && !self.Formed {
		err = fmt.Errorf("%w: %s", consensus.ErrNoGroup, self.Waits)
	}
	if err != nil {
		return err
	}
	table, err := dialMember(ctx, dir, StorePrefix+cluster.SystemGroup)
	if err != nil {
		return err
	}
	defer table.Close()
	c, key := kv.NewKVClient(table), []byte(cluster.VersionsPrefix+self.Node)
	now, err := c.Get(ctx, kv.GetRequest{Key: key, Stale: true})
	if err != nil || now.Found && bytes.Equal(now.Value, value) {
		return err
	}
	_, err = c.Put(ctx, kv.PutRequest{Key: key, Value: value})
	return err
}

// Versions reads the versions of all nodes' cells from the cluster's table, node by
// node.
func Versions(ctx context.Context, dir string) (all []Version, err error) {
	table, err := dialMember(ctx, dir, StorePrefix+cluster.SystemGroup)
	if err != nil {
		return nil, err
	}
	defer table.Close()
	c := kv.NewKVClient(table)
	end := cluster.VersionsPrefix[:len(cluster.VersionsPrefix)-1] + "0" // what follows the slash
	for start := []byte(cluster.VersionsPrefix); ; {
		page, err := c.Range(ctx, kv.RangeRequest{Start: start, End: []byte(end)})
		if err != nil {
			return nil, err
		}
		for _, i := range page.Items {
			var some []Version
			if err := json.Unmarshal(i.Value, &some); err != nil {
				return nil, fmt.Errorf("%w: the table's %q", consensus.ErrDamaged, i.Key)
			}
			for _, v := range some {
				v.Node = strings.TrimPrefix(string(i.Key), cluster.VersionsPrefix)
				all = append(all, v)
			}
			start = append(i.Key, 0)
		}
		if !page.More || len(page.Items) == 0 {
			return all, nil
		}
	}
}

// dialMember connects to a socket of the member of a runtime directory.
func dialMember(ctx context.Context, dir, name string) (*rpc.Conn, error) {
	return rpc.Connect(ctx, func(ctx context.Context) (link.Link, error) {
		return uds.Dial(ctx, name, &uds.Options{Dir: dir})
	}, &rpc.ConnOptions{Wait: rpc.WaitPark, Name: "node"})
}
