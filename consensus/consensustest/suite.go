package consensustest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
)

// Cluster is what a backend under test brings: hosts that reach each other.
type Cluster struct {
	Hosts []consensus.Host
	// Restart closes host i and opens it again over the same data; nil if the
	// backend keeps none.
	Restart func(i int) consensus.Host
}

// patience bounds waiting for what must happen in the end.
const patience = 2 * time.Minute

// Run holds a backend to the interface. open makes a fresh cluster of one host
// or more, which the test's cleanup ends.
func Run(t *testing.T, open func(t *testing.T) *Cluster) {
	for name, f := range map[string]func(*testing.T, *Cluster){
		"proposals and reads":      testProposals,
		"kinds of machines":        testKinds,
		"pipelined, in order":      testPipeline,
		"exactly once":             testSessions,
		"stale reads have an age":  testStale,
		"digests agree":            testDigests,
		"refusals":                 testRefusals,
		"groups are independent":   testGroups,
		"contexts and deadlines":   testContexts,
		"restart keeps everything": testRestart,
	} {
		t.Run(name, func(t *testing.T) { f(t, open(t)) })
	}
}

// start starts a group on all hosts, with machines made by machines(i).
func start(t *testing.T, c *Cluster, name string, machines func(i int) consensus.Machines) []consensus.Group {
	t.Helper()
	members := make(map[consensus.ReplicaID]consensus.NodeID)
	for i, h := range c.Hosts {
		members[consensus.ReplicaID(i+1)] = h.Node()
	}
	groups := make([]consensus.Group, len(c.Hosts))
	errs := make([]error, len(c.Hosts))
	var all sync.WaitGroup
	for i, h := range c.Hosts {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			groups[i], errs[i] = h.Start(ctx, consensus.GroupConfig{
				Name: name, Replica: consensus.ReplicaID(i + 1), Members: members, Machines: machines(i),
			})
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	Ready(t, groups[0])
	return groups
}

// Memory makes the machines of [Register].
func Memory(int) consensus.Machines {
	return consensus.Machines{Memory: func() consensus.Machine { return NewRegister() }}
}

// Ready waits until a group answers linearizable reads.
func Ready(t testing.TB, g consensus.Group) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err = g.ReadIndex(ctx)
		cancel()
		if err == nil {
			return
		}
	}
	t.Fatalf("group %q: no leader after %v: %v", g.Name(), patience, err)
}

func propose(t *testing.T, g consensus.Proposer, command []byte) consensus.Result {
	t.Helper()
	var r consensus.Result
	err := led(t, func(ctx context.Context) (err error) { // without a leader it was not executed
		r, err = consensus.Propose(ctx, g, command)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func query(t *testing.T, g consensus.Group, q any) uint64 {
	t.Helper()
	var answer any
	err := led(t, func(ctx context.Context) (err error) {
		answer, err = consensus.Query(ctx, g, q)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer.(uint64)
}

// led asks again while there is no leader, which on a busy host is lost now and then.
func led(t *testing.T, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := f(ctx)
		if !errors.Is(err, consensus.ErrNoLeader) || ctx.Err() != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func testProposals(t *testing.T, c *Cluster) {
	groups := start(t, c, "values", Memory)
	for i, g := range groups { // through every replica, leader or not
		if got := propose(t, g, Command('+', 'a', 5)); got.Value != uint64(5*(i+1)) {
			t.Errorf("through replica %d: %d", i+1, got.Value)
		}
		for _, other := range groups {
			if got := query(t, other, byte('a')); got != uint64(5*(i+1)) {
				t.Errorf("written through replica %d, read through %d: %d", i+1, other.Replica(), got)
			}
		}
	}
	if got := propose(t, groups[0], []byte("nonsense")); string(got.Data) != "refused" {
		t.Errorf("%+v", got)
	}
	if s := Leader(t, groups).Status(); s.Leader == 0 || s.Group != "values" || len(s.Members) != len(groups) || s.Applied == 0 {
		t.Errorf("%+v", s)
	}
	err := led(t, func(ctx context.Context) error { _, err := consensus.Query(ctx, groups[0], 1.5); return err })
	if !errors.Is(err, ErrQuery) {
		t.Errorf("a machine's own error: %v", err)
	}
}

func testKinds(t *testing.T, c *Cluster) {
	dir := t.TempDir()
	for name, machines := range map[string]func(int) consensus.Machines{
		"concurrent": func(int) consensus.Machines {
			return consensus.Machines{Concurrent: func() consensus.ConcurrentMachine { return NewConcurrent() }}
		},
		"disk": func(i int) consensus.Machines {
			return consensus.Machines{Disk: func() consensus.DiskMachine {
				return NewDisk(filepath.Join(dir, fmt.Sprint(i)))
			}}
		},
	} {
		groups := start(t, c, name, machines)
		for i := range 20 {
			if got := propose(t, groups[i%len(groups)], Command('+', 'k', 1)); got.Value != uint64(i+1) {
				t.Errorf("%s: %d after %d", name, got.Value, i+1)
			}
		}
		if got := query(t, groups[len(groups)-1], byte('k')); got != 20 {
			t.Errorf("%s: read %d", name, got)
		}
		if got := groups[0].Status().Kind.String(); got != name {
			t.Errorf("kind %s, want %s", got, name)
		}
		if name == "disk" {
			err := led(t, func(ctx context.Context) error { _, err := consensus.NewSession(ctx, groups[0]); return err })
			if !errors.Is(err, consensus.ErrUnsupported) {
				t.Errorf("a session: %v", err)
			}
		}
	}
}

func testPipeline(t *testing.T, c *Cluster) {
	groups := start(t, c, "pipeline", Memory)
	// Where a leader is lost, some commands are, too: then those of another key are
	// begun, by its successor.
	key := byte(0)
	err := led(t, func(ctx context.Context) error { key++; return pipeline(ctx, t, Leader(t, groups), key) })
	if err != nil {
		t.Fatal(err)
	}
}

// pipeline sets a register again and again without waiting, which must be executed in
// order. Any error is that nobody leads: what was lost on its way ends in others.
func pipeline(ctx context.Context, t *testing.T, leader consensus.Group, key byte) error {
	const n = 500
	var pending []consensus.Pending
	for i := range n {
		p, err := consensus.Begin(leader, Command('=', key, uint64(i+1)), 10*time.Second)
		for errors.Is(err, consensus.ErrBusy) {
			time.Sleep(time.Millisecond)
			p, err = consensus.Begin(leader, Command('=', key, uint64(i+1)), 10*time.Second)
		}
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	for i, p := range pending {
		r, err := p.Wait(ctx)
		if errors.Is(err, consensus.ErrTimeout) {
			return fmt.Errorf("%w: %w", consensus.ErrNoLeader, err)
		}
		if err != nil {
			return err
		}
		if r.Value != uint64(i) { // what was there: the one before
			t.Fatalf("entry %d saw %d", i, r.Value)
		}
	}
	return nil
}

// Leader waits for a leader among groups, which are replicas of one.
func Leader(t testing.TB, groups []consensus.Group) consensus.Group {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, g := range groups {
			if g.Status().Leads() {
				return g
			}
		}
	}
	t.Fatalf("no leader after %v", patience)
	return nil
}
