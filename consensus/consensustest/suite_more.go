package consensustest

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
)

// twice is a log that appends every entry two times, as a caller does that
// doesn't know whether the first one arrived.
type twice struct{ consensus.Proposer }

func (p twice) ProposeEntry(ctx context.Context, entry []byte) (consensus.Result, error) {
	if _, err := p.Proposer.ProposeEntry(ctx, entry); err != nil {
		return consensus.Result{}, err
	}
	return p.Proposer.ProposeEntry(ctx, entry)
}

func testSessions(t *testing.T, c *Cluster) {
	groups := start(t, c, "sessions", Memory)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := consensus.NewSession(ctx, twice{groups[len(groups)-1]})
	if err != nil {
		t.Fatal(err)
	}
	const callers, each = 8, 10
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range each {
				if _, err := s.Propose(ctx, Command('+', 's', 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := query(t, groups[0], byte('s')); got != callers*each {
		t.Errorf("%d commands in a session, sent twice each, were executed %d times", callers*each, got)
	}
	// The control: without a session, twice is twice.
	n := byte('n') - 1
	err = led(t, func(ctx context.Context) error { // another key, since one of the two may have been executed
		n++
		_, err := consensus.Propose(ctx, twice{groups[0]}, Command('+', n, 1))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := query(t, groups[0], n); got != 2 {
		t.Errorf("a command without a session, sent twice: %d", got)
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Propose(ctx, Command('+', 's', 1)); !errors.Is(err, consensus.ErrSessionExpired) {
		t.Errorf("a closed session: %v", err)
	}
}

func testStale(t *testing.T, c *Cluster) {
	groups := start(t, c, "stale", Memory)
	g := groups[len(groups)-1]
	propose(t, g, Command('=', 'x', 7))
	answer, age, err := consensus.QueryStale(t.Context(), g, byte('x'), -1)
	if err != nil || answer.(uint64) != 7 || age < 0 || age > patience {
		t.Errorf("%v, age %v, %v", answer, age, err)
	}
	time.Sleep(2 * time.Millisecond)
	err = led(t, func(ctx context.Context) (err error) {
		answer, age, err = consensus.QueryStale(ctx, g, byte('x'), time.Nanosecond)
		return err
	})
	if err != nil || answer.(uint64) != 7 || age != 0 {
		t.Errorf("no older than a nanosecond: %v, age %v, %v", answer, age, err)
	}
}

func testDigests(t *testing.T, c *Cluster) {
	groups := start(t, c, "digests", Memory)
	for i := range 10 {
		propose(t, groups[0], Command('+', byte(i), 3))
	}
	var d consensus.Digest
	take := func(ctx context.Context) (err error) {
		d, err = consensus.TakeDigest(ctx, groups[0])
		return err
	}
	if err := led(t, take); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		deadline := time.Now().Add(patience)
		for g.Status().Digest.Index < d.Index && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if got := g.Status().Digest; got != d {
			t.Errorf("replica %d: %x at %d, want %x at %d", g.Replica(), got.Sum, got.Index, d.Sum, d.Index)
		}
	}
	propose(t, groups[0], Command('+', 'z', 1))
	before := d
	if err := led(t, take); err != nil || before.Sum == d.Sum {
		t.Errorf("another state, the same digest: %v", err)
	}
}

func testRefusals(t *testing.T, c *Cluster) {
	h := c.Hosts[0]
	one := map[consensus.ReplicaID]consensus.NodeID{1: h.Node()}
	for name, bad := range map[string]consensus.GroupConfig{
		"no name":             {Replica: 1, Members: one, Machines: Memory(0)},
		"no replica":          {Name: "g", Members: one, Machines: Memory(0)},
		"no machine":          {Name: "g", Replica: 1, Members: one},
		"not among members":   {Name: "g", Replica: 2, Members: one, Machines: Memory(0)},
		"joins with members":  {Name: "g", Replica: 1, Members: one, Join: true, Machines: Memory(0)},
		"keeps more than all": {Name: "g", Replica: 1, Members: one, Machines: Memory(0), KeepEntries: 10, SnapshotEntries: 5},
	} {
		if _, err := h.Start(t.Context(), bad); !errors.Is(err, consensus.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	groups := start(t, c, "here", Memory)
	if _, err := h.Group("elsewhere"); !errors.Is(err, consensus.ErrNoGroup) {
		t.Errorf("an unknown group: %v", err)
	}
	again := consensus.GroupConfig{Name: "here", Replica: 1, Members: one, Machines: Memory(0)}
	if _, err := h.Start(t.Context(), again); !errors.Is(err, consensus.ErrGroupExists) {
		t.Errorf("started twice: %v", err)
	}
	if _, err := consensus.Propose(t.Context(), groups[0], make([]byte, consensus.MaxCommand+1)); !errors.Is(err, consensus.ErrTooLarge) {
		t.Errorf("a command that is too large: %v", err)
	}
	if err := h.Stop("elsewhere"); !errors.Is(err, consensus.ErrNoGroup) {
		t.Errorf("stop of an unknown group: %v", err)
	}
}

func testGroups(t *testing.T, c *Cluster) {
	const n = 4
	var groups [n][]consensus.Group
	for i := range n {
		groups[i] = start(t, c, "group"+strconv.Itoa(i), Memory)
	}
	for i := range n {
		propose(t, groups[i][0], Command('=', 'v', uint64(i)))
	}
	for i := range n {
		if got := query(t, groups[i][len(groups[i])-1], byte('v')); got != uint64(i) {
			t.Errorf("group %d has %d", i, got)
		}
	}
	if all := c.Hosts[0].Groups(); len(all) != n || all[1].Name() != "group1" {
		t.Errorf("%d groups", len(all))
	}
	for _, h := range c.Hosts {
		if err := h.Stop("group0"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Hosts[0].Group("group0"); !errors.Is(err, consensus.ErrNoGroup) {
		t.Errorf("after Stop: %v", err)
	}
	if got := query(t, groups[1][0], byte('v')); got != 1 {
		t.Errorf("another group after Stop: %d", got)
	}
}

func testContexts(t *testing.T, c *Cluster) {
	groups := start(t, c, "contexts", Memory)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := consensus.Propose(ended, groups[0], Command('+', 'a', 1)); !errors.Is(err, consensus.ErrCanceled) {
		t.Errorf("canceled before: %v", err)
	}
	late, cancel2 := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel2()
	if err := groups[0].ReadIndex(late); !errors.Is(err, consensus.ErrTimeout) {
		t.Errorf("late before: %v", err)
	}
	if err := c.Hosts[0].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := consensus.Propose(t.Context(), groups[0], Command('+', 'a', 1)); !errors.Is(err, consensus.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func testRestart(t *testing.T, c *Cluster) {
	if c.Restart == nil {
		t.Skip("the backend keeps nothing")
	}
	dir := t.TempDir()
	kinds := map[string]func(int) consensus.Machines{
		"memory": Memory,
		"disk": func(i int) consensus.Machines {
			return consensus.Machines{Disk: func() consensus.DiskMachine { return NewDisk(filepath.Join(dir, strconv.Itoa(i))) }}
		},
	}
	for name, machines := range kinds {
		groups := start(t, c, name, machines)
		for range 50 {
			propose(t, groups[0], Command('+', 'r', 2))
		}
	}
	for i := range c.Hosts { // one after the other, all of them
		c.Hosts[i] = c.Restart(i)
		for name, machines := range kinds {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			g, err := c.Hosts[i].Start(ctx, consensus.GroupConfig{Name: name, Replica: consensus.ReplicaID(i + 1), Machines: machines(i)})
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			Ready(t, g)
			if got := query(t, g, byte('r')); got != 100 {
				t.Errorf("%s, replica %d after a restart: %d", name, i+1, got)
			}
		}
	}
}
