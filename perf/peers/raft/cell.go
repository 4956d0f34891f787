package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/dragonboat"
	"github.com/cell-runtime/cell/identity"
)

// tally is the machine: it counts commands and bytes.
type tally struct{ commands, bytes uint64 }

func (t *tally) Apply(e *consensus.Entry) {
	t.commands++
	t.bytes += uint64(len(e.Command))
	e.Result.Value = t.commands
}
func (t *tally) Read(any) (any, error) { return t.commands, nil }
func (t *tally) Snapshot(w io.Writer) error {
	_, err := fmt.Fprintln(w, t.commands, t.bytes)
	return err
}
func (t *tally) Restore(r io.Reader) error {
	_, err := fmt.Fscan(r, &t.commands, &t.bytes)
	return err
}

// cellReplicas are replicas behind Cell's interface.
type cellReplicas struct {
	host   consensus.Host
	groups []consensus.Group
}

func nodeID(replica int) consensus.NodeID { return consensus.NodeID(fmt.Sprintf("node-%d", replica)) }

func openCell(s setup) (replicas, error)    { return newCell(s, dragonboat.Pebble, nil) }
func openCellTan(s setup) (replicas, error) { return newCell(s, dragonboat.Tan, nil) }

// openCellTLS opens one whose replicas prove their node keys to each other.
func openCellTLS(s setup) (replicas, error) {
	var trust identity.Trust
	ids := make([]consensus.NodeID, len(s.Addrs))
	var mine *identity.Credentials
	for i := range s.Addrs {
		key := identity.FromSeed([32]byte{1, byte(i)}) // known to all: it protects nothing here
		if err := trust.Allow(fmt.Sprint("replica-", i+1), key.ID()); err != nil {
			return nil, err
		}
		ids[i] = consensus.NodeID(key.ID().String())
		if i+1 == s.Replica {
			c, err := identity.NewCredentials(key)
			if err != nil {
				return nil, err
			}
			mine = c
		}
	}
	return newCell(s, dragonboat.Pebble, func(o *dragonboat.Options) []consensus.NodeID {
		o.Security, o.Insecure = dragonboat.NodeKeys(mine, &trust), false
		return ids
	})
}

func newCell(s setup, store dragonboat.Store, secure func(*dragonboat.Options) []consensus.NodeID) (*cellReplicas, error) {
	machines := func(int) consensus.Machines {
		return consensus.Machines{Memory: func() consensus.Machine { return &tally{} }}
	}
	return newCellWith(s, store, secure, machines)
}

func newCellWith(s setup, store dragonboat.Store, secure func(*dragonboat.Options) []consensus.NodeID, machines func(group int) consensus.Machines) (*cellReplicas, error) {
	ids := make([]consensus.NodeID, len(s.Addrs))
	for i := range ids {
		ids[i] = nodeID(i + 1)
	}
	o := dragonboat.Options{Dir: s.Dir, Listen: s.Addrs[s.Replica-1], Insecure: true, Tick: s.Tick, ElectionTicks: electionTicks, Store: store}
	if secure != nil {
		ids = secure(&o)
	}
	o.Node = ids[s.Replica-1]
	o.Resolve = func(_ context.Context, n consensus.NodeID) (string, error) {
		for i, id := range ids {
			if id == n {
				return s.Addrs[i], nil
			}
		}
		return "", fmt.Errorf("no node %s", n)
	}
	host, err := dragonboat.Open(o)
	if err != nil {
		return nil, err
	}
	c := &cellReplicas{host: host}
	members := map[consensus.ReplicaID]consensus.NodeID{}
	for i, id := range ids {
		members[consensus.ReplicaID(i+1)] = id
	}
	for g := range s.Groups {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		group, err := host.Start(ctx, consensus.GroupConfig{
			Name: fmt.Sprint("group-", g), Replica: consensus.ReplicaID(s.Replica), Members: members,
			SnapshotEntries: snapshotEntries, KeepEntries: keepEntries, Machines: machines(g),
		})
		cancel()
		if err != nil {
			return nil, err
		}
		c.groups = append(c.groups, group)
	}
	return c, nil
}

func (c *cellReplicas) leads(g int) bool { return c.groups[g].Status().Leads() }

func (c *cellReplicas) propose(ctx context.Context, g int, command []byte) error {
	_, err := consensus.Propose(ctx, c.groups[g], command)
	return err
}

// cellPending is a command under way.
type cellPending struct{ p consensus.Pending }

func (p cellPending) wait() error {
	_, err := p.p.Wait(context.Background())
	return err
}

func (c *cellReplicas) begin(g int, command []byte) (pending, error) {
	p, err := consensus.Begin(c.groups[g], command, requestTimeout)
	return cellPending{p}, err
}

func (c *cellReplicas) read(ctx context.Context, g int) error {
	_, err := consensus.Query(ctx, c.groups[g], nil)
	return err
}

func (c *cellReplicas) close() error { return c.host.Close() }

// sessionReplicas propose in sessions, one for all callers of a group.
type sessionReplicas struct {
	*cellReplicas
	sessions *lazily
}

func openCellSession(s setup) (replicas, error) {
	c, err := newCell(s, dragonboat.Pebble, nil)
	if err != nil {
		return nil, err
	}
	return &sessionReplicas{c, &lazily{of: map[int]*consensus.Session{}}}, nil
}

func (c *sessionReplicas) propose(ctx context.Context, g int, command []byte) error {
	s, err := c.sessions.get(ctx, g, c.groups[g])
	if err != nil {
		return err
	}
	_, err = s.Propose(ctx, command)
	return err
}

// begin is not there: a session's commands are waited for.
func (c *sessionReplicas) begin(int, []byte) (pending, error) { return nil, errNotThere }
