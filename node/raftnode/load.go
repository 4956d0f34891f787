//go:build !nodragonboat && !s390x

package raftnode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/dragonboat"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// What one transaction writes at most, besides one key of any size.
const (
	loadKeys  = 128
	loadBytes = 256 << 10
)

// Load writes the keys of a backup into a store of the cluster that has none yet,
// through the socket of a member in the runtime directory run. The backup is of
// any store of keys, and is made a group of its own meanwhile, below the directory
// tmp. Keys of leases are left out: who held those is gone. Error:
// consensus.ErrConflict where the store has keys, consensus.ErrDamaged where the
// backup is not whole, consensus.ErrUnsupported where it is of something else.
func Load(ctx context.Context, run, tmp, group string, backup io.ReadSeeker) (Loaded, error) {
	conn, err := rpc.Connect(ctx, func(ctx context.Context) (link.Link, error) {
		return uds.Dial(ctx, StorePrefix+group, &uds.Options{Dir: run})
	}, &rpc.ConnOptions{Wait: rpc.WaitPark, Name: "cellnode"})
	if errors.Is(err, uds.ErrNoListener) {
		return Loaded{}, fmt.Errorf("%w: %q has no replica here: make it (cellnode raft create), or ask a node that has one", consensus.ErrNoGroup, group)
	}
	if err != nil {
		return Loaded{}, err
	}
	defer conn.Close()
	c := kv.NewClient(conn)
	there, err := c.Range(ctx, kv.RangeRequest{Limit: 1})
	if err != nil {
		return Loaded{}, err
	}
	if len(there.Items) > 0 {
		return Loaded{}, fmt.Errorf("%w: group %q has keys, such as %.40q; make another one (cellnode raft create) and load the backup there", consensus.ErrConflict, group, there.Items[0].Key)
	}
	return readStore(ctx, tmp, backup, func(items []kv.Item) error {
		var t kv.TxnRequest
		for _, i := range items {
			t.If = append(t.If, kv.Condition{Test: kv.TestMissing, Key: i.Key})
			t.Then = append(t.Then, kv.Op{Kind: kv.OpPut, Key: i.Key, Value: i.Value})
		}
		r, err := c.Txn(ctx, t)
		if err == nil && !r.Succeeded {
			err = fmt.Errorf("%w: somebody else writes into group %q", consensus.ErrConflict, group)
		}
		return err
	})
}

// readStore makes the group of a backup anew, with one member that is nobody's, and
// passes its keys to write, some at a time.
func readStore(ctx context.Context, tmp string, backup io.ReadSeeker, write func([]kv.Item) error) (did Loaded, err error) {
	info, err := dragonboat.CheckBackup(backup)
	if err != nil {
		return did, err
	}
	if _, err := backup.Seek(0, io.SeekStart); err != nil {
		return did, err
	}
	did.From, did.Index = info.Group, info.Index
	replica := consensus.ReplicaID(1)
	for _, m := range info.Members {
		replica = max(replica, m.Replica+1)
	}
	o := dragonboat.Options{
		Node: consensus.NodeID(rand.Text()), Dir: tmp, // nobody knows whom to address
		Listen: "127.0.0.1:0", Insecure: true, Resolve: func(context.Context, consensus.NodeID) (string, error) { return "", errors.ErrUnsupported },
	}
	if _, err := dragonboat.Restore(o, backup, map[consensus.ReplicaID]consensus.NodeID{replica: o.Node}, replica); err != nil {
		return did, err
	}
	host, err := dragonboat.Open(o)
	if err != nil {
		return did, err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	store := &restored{Machine: kv.New()}
	g, err := host.Start(ctx, consensus.GroupConfig{Name: info.Group, Replica: replica,
		Machines: consensus.Machines{Concurrent: func() consensus.ConcurrentMachine { return store }}})
	if err != nil {
		return did, err
	}
	for err = g.ReadIndex(ctx); errors.Is(err, consensus.ErrNoLeader) && ctx.Err() == nil; err = g.ReadIndex(ctx) {
		time.Sleep(5 * time.Millisecond) // it elects itself
	}
	if err != nil {
		return did, err
	}
	if store.refused != nil {
		return did, fmt.Errorf("%w: the backup of group %q is not of a store of keys: %w", consensus.ErrUnsupported, info.Group, store.refused)
	}
	return did, did.copy(ctx, g, write)
}

// copy passes all keys of a group to write.
func (did *Loaded) copy(ctx context.Context, g consensus.Group, write func([]kv.Item) error) error {
	server, err := rpc.NewServer(nil)
	if err != nil {
		return err
	}
	defer server.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := kv.Serve(ctx, server, g)
	if err != nil {
		return err
	}
	var some []kv.Item
	bytes := 0
	flush := func() error {
		if len(some) == 0 {
			return nil
		}
		err := write(some)
		did.Keys += len(some)
		some, bytes = some[:0], 0
		return err
	}
	for r := (kv.RangeRequest{}); ; {
		page, err := s.Range(ctx, r)
		if err != nil {
			return err
		}
		for _, i := range page.Items {
			if i.Lease != 0 {
				did.Leased++
				continue
			}
			if size := len(i.Key) + len(i.Value); len(some) == loadKeys || bytes+size > loadBytes {
				if err := flush(); err != nil {
					return err
				}
			}
			some, bytes = append(some, i), bytes+len(i.Key)+len(i.Value)
		}
		if !page.More || len(page.Items) == 0 {
			return flush()
		}
		r.Start = append(append([]byte(nil), page.Items[len(page.Items)-1].Key...), 0)
	}
}

// restored is a store that refuses no snapshot, since Raft ends the process where
// one is refused; it says afterwards that it would have.
type restored struct {
	*kv.Machine
	refused error
}

// Restore implements consensus.ConcurrentMachine.
func (r *restored) Restore(from io.Reader) error {
	if r.refused = r.Machine.Restore(from); r.refused != nil {
		_, err := io.Copy(io.Discard, from)
		return err
	}
	return nil
}
