//go:build !nodragonboat && !s390x

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
	"github.com/cell-runtime/cell/consensus/dragonboat"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/identity"
)

// world is some nodes with the memberships of one token.
type world struct {
	t     *testing.T
	token *identity.Token
	trust *identity.Trust
	nodes []*node
}

type node struct {
	dir   string
	addr  string
	creds *identity.Credentials
	m     *Member
}

func newWorld(t *testing.T) *world {
	c, err := identity.NewCluster()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, trust: new(identity.Trust)}
	if w.token, err = c.NewToken(time.Now(), time.Hour, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.trust.SetCluster(c.ID()); err != nil {
		t.Fatal(err)
	}
	t.TempDir() // the first one has all of them removed when the test ends: after the nodes were stopped
	t.Cleanup(func() {
		for i := range w.nodes {
			w.stop(i)
		}
	})
	return w
}

// add makes a node by the token, and starts nothing.
func (w *world) add() int {
	w.t.Helper()
	n := &node{dir: w.t.TempDir(), addr: consensustest.FreeAddr(w.t)}
	if _, err := identity.LoadOrCreate(filepath.Join(n.dir, "identity")); err != nil {
		w.t.Fatal(err)
	}
	if _, err := identity.Join(filepath.Join(n.dir, "identity"), w.token, time.Now()); err != nil {
		w.t.Fatal(err)
	}
	var err error
	if n.creds, err = identity.LoadCredentials(filepath.Join(n.dir, "identity")); err != nil {
		w.t.Fatal(err)
	}
	w.nodes = append(w.nodes, n)
	return len(w.nodes) - 1
}

// start starts a node that knows some addresses.
func (w *world) start(i int, peers ...string) *Member {
	w.t.Helper()
	n := w.nodes[i]
	m, err := Open(Options{
		Dir: n.dir, Advertise: n.addr, Peers: peers, keepEvery: 100 * time.Millisecond,
		Open: func(answer AnswerFunc, resolve ResolveFunc, vouch VouchFunc) (Host, error) {
			return dragonboat.Open(dragonboat.Options{
				Node: consensus.NodeID(n.creds.ID().String()), Dir: filepath.Join(n.dir, "raft"), Listen: n.addr, Tick: 10 * time.Millisecond, ElectionTicks: 40,
				Security: dragonboat.NodeKeys(n.creds, w.trust), Resolve: resolve, Answer: answer, Vouch: vouch,
			})
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	n.m = m
	return m
}

func (w *world) stop(i int) {
	if n := w.nodes[i]; n.m != nil {
		if err := n.m.Close(); err != nil {
			w.t.Error(err)
		}
		n.m = nil
	}
}

func (w *world) id(i int) consensus.NodeID { return consensus.NodeID(w.nodes[i].creds.ID().String()) }

// refused waits for a refusal: on a busy host there is another reason now and then,
// that nobody leads or that a node has not answered lately. It is never done.
func refused(t *testing.T, what string, want error, f func(ctx context.Context) error) {
	t.Helper()
	eventually(t, what, func(ctx context.Context) error {
		err := f(ctx)
		if err == nil {
			t.Fatalf("%s: it was done", what)
		}
		if errors.Is(err, want) {
			return nil
		}
		return err
	})
}

// eventually waits for what must happen in the end.
func eventually(t *testing.T, what string, f func(ctx context.Context) error) {
	t.Helper()
	deadline := time.Now().Add(4 * time.Minute)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := f(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func formed(t *testing.T, m *Member) {
	t.Helper()
	select {
	case <-m.Formed():
	case <-time.After(4 * time.Minute):
		m.mu.Lock()
		defer m.mu.Unlock()
		t.Fatalf("no cluster: %s, %+v", m.why, m.state)
	}
}

// members checks who is in a group, by role.
func (w *world) members(m *Member, group string, voters int) func(context.Context) error {
	return func(ctx context.Context) error {
		g, err := m.Host().Group(group)
		if err != nil {
			return err
		}
		all, _, err := g.Members(ctx)
		if err != nil {
			return err
		}
		n := 0
		for _, x := range all {
			if x.Role == consensus.Voter {
				n++
			}
		}
		if n != voters || len(all) != voters {
			return fmt.Errorf("%d voters of %d members: %+v", n, len(all), all)
		}
		return nil
	}
}

// TestOneTokenOneCommandEach: three nodes found a cluster by themselves; each
// knows one address only. One is replaced by a node that comes later; groups are
// made, moved and deleted.
func TestOneTokenOneCommandEach(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.add()
	}
	a := w.start(0, w.nodes[1].addr)
	if _, err := a.running(SystemGroup); !errors.Is(err, consensus.ErrNoGroup) || !strings.Contains(err.Error(), "looking for others") {
		t.Errorf("alone: %v", err)
	}
	b, c := w.start(1), w.start(2, w.nodes[0].addr)
	for _, m := range []*Member{a, b, c} {
		formed(t, m)
	}
	if a.state.Cluster == "" || a.state.Cluster != b.state.Cluster || b.state.Cluster != c.state.Cluster {
		t.Fatalf("clusters %q, %q, %q", a.state.Cluster, b.state.Cluster, c.state.Cluster)
	}
	eventually(t, "the table of nodes", func(ctx context.Context) error {
		all, err := b.Nodes(ctx)
		if err == nil && len(all) != 3 {
			err = fmt.Errorf("%d nodes", len(all))
		}
		return err
	})
	eventually(t, "making a group", func(ctx context.Context) error {
		_, err := a.Create(ctx, "orders", Kind, 3)
		if errors.Is(err, consensus.ErrConflict) { // an attempt without answer has done it
			_, err = a.find(ctx, "orders")
		}
		return err
	})
	put := func(m *Member, key, value string) func(context.Context) error {
		return func(ctx context.Context) error {
			s, err := m.Store("orders")
			if err == nil {
				_, err = s.Put(ctx, kv.PutRequest{Key: []byte(key), Value: []byte(value)})
			}
			return err
		}
	}
	eventually(t, "writing", put(c, "k", "1"))
	for _, bad := range []struct {
		name, kind string
		n          int
		want       error
	}{{"orders", Kind, 3, consensus.ErrConflict}, {"x", Kind, 4, consensus.ErrConfig}, {"x", "none", 1, consensus.ErrConfig}, {SystemGroup, Kind, 1, consensus.ErrConfig}} {
		refused(t, fmt.Sprintf("making %+v", bad), bad.want, func(ctx context.Context) error {
			_, err := a.Create(ctx, bad.name, bad.kind, bad.n)
			return err
		})
	}

	// A fourth one comes, gets a replica, and the first one can go.
	w.add()
	d := w.start(3, w.nodes[2].addr)
	formed(t, d)
	eventually(t, "the newcomer in the table", func(ctx context.Context) error {
		err := b.Move(ctx, "orders", w.id(0), w.id(3))
		if e, other := b.find(ctx, "orders"); other == nil && e.of(w.id(3)) != nil { // an attempt without answer has done it
			return nil
		}
		return err
	})
	eventually(t, "the replica has moved", func(ctx context.Context) error {
		e, err := d.find(ctx, "orders")
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(e.Seats, func(s Seat) bool { return s.Node == w.id(0) }); !e.Seats[i].Gone {
			return fmt.Errorf("seats %+v", e.Seats)
		}
		if _, err := a.Host().Group("orders"); !errors.Is(err, consensus.ErrNoGroup) {
			return fmt.Errorf("the old node still has it: %v", err)
		}
		return w.members(d, "orders", 3)(ctx)
	})
	refused(t, "removing a node with replicas", consensus.ErrConflict, func(ctx context.Context) error { return a.Remove(ctx, w.id(1)) })
	w.stop(0)
	eventually(t, "removing a node", func(ctx context.Context) error {
		err := d.Remove(ctx, w.id(0))
		if errors.Is(err, consensus.ErrNotMember) { // an attempt without answer has done it
			return nil
		}
		return err
	})
	eventually(t, "the newcomer becomes a voter", w.members(b, SystemGroup, 3))
	eventually(t, "writing", put(d, "k", "2"))

	// All of them restart, and are what they were.
	for _, i := range []int{1, 2, 3} {
		w.stop(i)
	}
	for _, i := range []int{1, 2, 3} {
		formed(t, w.start(i))
	}
	eventually(t, "reading after a restart", func(ctx context.Context) error {
		s, err := w.nodes[3].m.Store("orders")
		if err != nil {
			return err
		}
		r, err := s.Get(ctx, kv.GetRequest{Key: []byte("k")})
		if err == nil && string(r.Value) != "2" {
			err = fmt.Errorf("read %q", r.Value)
		}
		return err
	})
	eventually(t, "deleting the group", func(ctx context.Context) error {
		err := w.nodes[1].m.Delete(ctx, "orders")
		if errors.Is(err, consensus.ErrNoGroup) {
			return nil
		}
		return err
	})
	eventually(t, "its replicas go", func(context.Context) error {
		for _, i := range []int{1, 2, 3} {
			if _, err := w.nodes[i].m.Host().Group("orders"); !errors.Is(err, consensus.ErrNoGroup) {
				return fmt.Errorf("node %d still has it", i)
			}
		}
		return nil
	})
	// A group of that name begins anew, with numbers of its own, also where
	// the old one's replicas were.
	eventually(t, "making a group of that name again", func(ctx context.Context) error {
		e, err := w.nodes[1].m.Create(ctx, "orders", Kind, 3)
		if errors.Is(err, consensus.ErrConflict) { // an attempt without answer has done it
			e, err = w.nodes[1].m.find(ctx, "orders")
		}
		if err == nil && slices.ContainsFunc(e.Seats, func(s Seat) bool { return s.Replica <= 4 }) {
			t.Errorf("numbers are used twice: %+v", e.Seats)
		}
		return err
	})
	eventually(t, "reading what the old group had", func(ctx context.Context) error {
		s, err := w.nodes[2].m.Store("orders")
		if err != nil {
			return err
		}
		r, err := s.Get(ctx, kv.GetRequest{Key: []byte("k")})
		if err == nil && r.Found {
			t.Errorf("the new group has the old one's %q", r.Value)
		}
		return err
	})
}

// A promise ends when its founder says so, and not before.
func TestPromises(t *testing.T) {
	s := state{Format: stateFormat, Phase: phaseNew}
	m := &Member{o: Options{Dir: t.TempDir(), Nodes: 2}, host: fixed("me"), state: s, known: addresses{}, peers: map[consensus.NodeID]peer{}}
	first := map[consensus.ReplicaID]consensus.NodeID{1: "other", 2: "me"}
	for _, c := range []struct {
		name string
		from consensus.NodeID
		q    question
		want error
	}{
		{"without this node", "other", question{Cluster: "a", First: map[consensus.ReplicaID]consensus.NodeID{1: "other", 2: "third"}}, consensus.ErrConfig},
		{"of another size", "other", question{Cluster: "a", First: map[consensus.ReplicaID]consensus.NodeID{1: "other", 2: "me", 3: "x"}}, consensus.ErrConfig},
		{"the first", "other", question{Cluster: "a", First: first}, nil},
		{"again", "other", question{Cluster: "a", First: first}, nil},
		{"another attempt of the same", "other", question{Cluster: "b", First: first}, consensus.ErrConflict},
		{"another founder", "third", question{Cluster: "a", First: first}, consensus.ErrConflict},
	} {
		if err := m.promise(c.from, &c.q); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	kept, err := readState(m.o.Dir)
	if err != nil || kept.Phase != phasePromised || kept.Founder != "other" || kept.Replica != 2 {
		t.Errorf("kept %+v, %v", kept, err)
	}
	step := func(p *info) {
		if p != nil {
			m.met(*p)
		}
		_ = m.advance() // what it waits for
	}
	step(nil)
	if m.state.Phase != phasePromised {
		t.Error("released without a word of the founder")
	}
	step(&info{Node: "other", Phase: phasePromised, Cluster: "a"})
	if m.state.Phase != phasePromised {
		t.Error("released while the founder waits")
	}
	step(&info{Node: "other", Phase: phaseNew})
	if m.state.Phase != phaseNew {
		t.Error("not released when the founder gave up")
	}
}

func TestDamagedPromisesAreRefused(t *testing.T) {
	dir := t.TempDir()
	s := state{Format: stateFormat, Phase: phaseFormed, Cluster: "c", Replica: 2}
	if err := s.write(dir); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, stateFile)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	newer := state{Format: stateFormat + 1}
	for what, b := range map[string][]byte{"empty": {}, "cut off": good[:len(good)/2], "a flipped bit": append([]byte{good[0] ^ 1}, good[1:]...)} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readState(dir); !errors.Is(err, consensus.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := newer.write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := readState(dir); !errors.Is(err, consensus.ErrDirectory) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("of a newer version: %v", err)
	}
}
