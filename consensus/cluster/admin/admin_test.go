package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/cluster"
	"github.com/cell-runtime/cell/consensus/single"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// host has groups of one member in memory, which can lose their leader.
type host struct {
	*single.Host
	leaderless atomic.Bool
}

func (h *host) Ask(context.Context, string, []byte) (consensus.NodeID, []byte, error) {
	return "", nil, consensus.ErrNoLeader
}

func (h *host) Sweep(context.Context, func(consensus.GroupID, consensus.ReplicaID) bool) (int, error) {
	return 0, nil
}

func (h *host) Start(ctx context.Context, c consensus.GroupConfig) (consensus.Group, error) {
	g, err := h.Host.Start(ctx, c)
	return group{g, h}, err
}

func (h *host) Group(name string) (consensus.Group, error) {
	g, err := h.Host.Group(name)
	return group{g, h}, err
}

func (h *host) Groups() (all []consensus.Group) {
	for _, g := range h.Host.Groups() {
		all = append(all, group{g, h})
	}
	return all
}

// group answers nothing while its leader is lost, and its backup is always the same.
type group struct {
	consensus.Group
	h *host
}

var state = bytes.Repeat([]byte("state "), 17_000) // some chunks, and a bit

func (g group) lost() error {
	if g.h.leaderless.Load() {
		return consensus.ErrNoLeader
	}
	return nil
}

func (g group) ProposeEntry(ctx context.Context, entry []byte) (consensus.Result, error) {
	if err := g.lost(); err != nil {
		return consensus.Result{}, err
	}
	return g.Group.ProposeEntry(ctx, entry)
}

func (g group) ReadIndex(ctx context.Context) error {
	if err := g.lost(); err != nil {
		return err
	}
	return g.Group.ReadIndex(ctx)
}

func (g group) Members(ctx context.Context) ([]consensus.Member, uint64, error) {
	if err := g.lost(); err != nil {
		return nil, 0, err
	}
	return g.Group.Members(ctx)
}

func (g group) Status() consensus.Status {
	s := g.Group.Status()
	if g.lost() != nil {
		s.Leader = 0
	}
	return s
}

func (g group) Backup(_ context.Context, w io.Writer) (consensus.BackupInfo, error) {
	_, err := w.Write(state)
	return consensus.BackupInfo{Group: g.Name(), Index: 7, Term: 3, Bytes: int64(len(state))}, err
}

// open makes a member that founds a cluster with so many.
func open(t *testing.T, nodes int) (*Service, *host) {
	t.Helper()
	h := &host{Host: single.New("me")}
	m, err := cluster.Open(cluster.Options{Dir: t.TempDir(), Nodes: nodes, Advertise: "192.0.2.1:1",
		Open: func(cluster.AnswerFunc, cluster.ResolveFunc, cluster.VouchFunc) (cluster.Host, error) { return h, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	service := &Service{m}
	if nodes == 1 {
		<-m.Formed()
		// Until it has told the table of itself, no group can be placed on it.
		for ctx := patient(t); ; time.Sleep(time.Millisecond) {
			status, err := service.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(status.Nodes) == 1 {
				break
			}
		}
	}
	return service, h
}

// serve serves a member at its socket, and returns a client.
func serve(t *testing.T, s *Service) *RaftClient {
	t.Helper()
	dir, err := os.MkdirTemp("", "adm") // sockets want short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("CELL_RUNTIME_DIR", dir)
	server, err := rpc.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := Serve(server, s.member); err != nil {
		t.Fatal(err)
	}
	l, err := uds.Listen("admin", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx, l.AcceptLink) }()
	conn, err := rpc.Connect(patient(t), uds.Dialer("admin", nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		cancel()
		<-served
		l.Close()
		server.Close()
	})
	return NewRaftClient(conn)
}

// patient lasts for long enough also on a host that is busy with others.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// find waits until a group is as it is wanted.
func find(t *testing.T, c *RaftClient, name string, want func(Group) bool) Group {
	t.Helper()
	for ctx := patient(t); ; time.Sleep(time.Millisecond) {
		list, err := c.Groups(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(list.Groups, func(g Group) bool { return g.Name == name && want(g) }); i >= 0 {
			return list.Groups[i]
		}
	}
}

func TestWhatAMemberIsToldIsDone(t *testing.T) {
	s, _ := open(t, 1)
	c, ctx := serve(t, s), patient(t)
	here := func(g Group) bool { return g.Here }
	did := func(d Done, err error) []string {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		return d.Did
	}
	said := func(what []string, want string) {
		t.Helper()
		if len(what) != 1 || what[0] != want {
			t.Errorf("%q, want %q", what, want)
		}
	}
	said(did(c.Create(ctx, NewGroup{Name: "orders"})), `group "orders" is in the table, with 1 replica`)
	orders := find(t, c, "orders", here)
	if orders.Kind != cluster.Kind || orders.Leader != 1 || orders.Replica != 1 || !slices.Equal(orders.Seats, []Seat{{Replica: 1, Node: "me", Role: "voter"}}) {
		t.Errorf("%+v", orders)
	}
	said(did(c.Split(ctx, Splitting{Group: "orders", At: []byte("m"), New: "later"})), `group "later" gets the keys of "orders" from "m" on`)
	later := find(t, c, "later", func(g Group) bool { return g.Here && g.Source == "" })
	if orders = find(t, c, "orders", here); string(later.From) != "m" || string(orders.To) != "m" || orders.Beyond != "later" {
		t.Errorf("after the split: %+v, %+v", orders, later)
	}
	said(did(c.Transfer(ctx, Place{Group: "orders", Node: "me"})), `node me leads group "orders"`)
	if d := did(c.Snapshot(ctx, Place{Group: "orders"})); len(d) != 1 || !strings.HasPrefix(d[0], `a snapshot of group "orders" at index `) {
		t.Errorf("%q", d)
	}
	said(did(c.Remove(ctx, Place{Group: "orders"})), `group "orders" is out of the table; its nodes delete its data`)
	said(did(c.Introduce(ctx, Addresses{Addrs: []string{"192.0.2.2:1", "192.0.2.3:1"}})), "2 addresses will be asked")
	status, err := c.Status(ctx)
	want := []Node{{Node: "me", Addr: "192.0.2.1:1", Replica: 1, Alive: true, Groups: 1}}
	if err != nil || !status.Formed || status.Node != "me" || status.Waits != "" || status.Cluster == "" || !slices.Equal(status.Nodes, want) {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestWhatAMemberRefuses(t *testing.T) {
	s, _ := open(t, 1)
	c, ctx := serve(t, s), patient(t)
	for _, name := range []string{"orders", "other"} {
		if _, err := c.Create(ctx, NewGroup{Name: name}); err != nil {
			t.Fatal(err)
		}
		find(t, c, name, func(g Group) bool { return g.Here })
	}
	for what, tc := range map[string]struct {
		call func() (Done, error)
		want wire.Status
		says string
	}{
		"a group that there is":              {func() (Done, error) { return c.Create(ctx, NewGroup{Name: "orders"}) }, wire.StatusAborted, "somebody else"},
		"more replicas than nodes":           {func() (Done, error) { return c.Create(ctx, NewGroup{Name: "x", Replicas: 2}) }, wire.StatusInvalidArgument, "2 replicas on 1 nodes"},
		"a voter made a voter":               {func() (Done, error) { return c.Add(ctx, Place{cluster.SystemGroup, "me"}) }, wire.StatusAborted, "voter already"},
		"a stranger made a voter":            {func() (Done, error) { return c.Add(ctx, Place{cluster.SystemGroup, "x"}) }, wire.StatusFailedPrecondition, "node x"},
		"a second replica on a node":         {func() (Done, error) { return c.Add(ctx, Place{"orders", "me"}) }, wire.StatusAborted, "already"},
		"a replica of no group":              {func() (Done, error) { return c.Add(ctx, Place{"none", "me"}) }, wire.StatusNotFound, `"none"`},
		"the last replica removed":           {func() (Done, error) { return c.Remove(ctx, Place{"orders", "me"}) }, wire.StatusAborted, "delete the group instead"},
		"a node with replicas removed":       {func() (Done, error) { return c.Remove(ctx, Place{"", "me"}) }, wire.StatusAborted, "move it first"},
		"a stranger removed":                 {func() (Done, error) { return c.Remove(ctx, Place{cluster.SystemGroup, "x"}) }, wire.StatusFailedPrecondition, "node x"},
		"the cluster's own group removed":    {func() (Done, error) { return c.Remove(ctx, Place{Group: cluster.SystemGroup}) }, wire.StatusInvalidArgument, "name a node"},
		"no group removed":                   {func() (Done, error) { return c.Remove(ctx, Place{Group: "none"}) }, wire.StatusNotFound, `"none"`},
		"a replica moved to a stranger":      {func() (Done, error) { return c.Move(ctx, Moving{"orders", "me", "x"}) }, wire.StatusFailedPrecondition, "not of this cluster"},
		"a store split into one there is":    {func() (Done, error) { return c.Split(ctx, Splitting{"orders", []byte("m"), "other"}) }, wire.StatusAborted, "other"},
		"a leader on a stranger":             {func() (Done, error) { return c.Transfer(ctx, Place{"orders", "x"}) }, wire.StatusFailedPrecondition, "node x"},
		"a leader of a group not here":       {func() (Done, error) { return c.Transfer(ctx, Place{"none", "me"}) }, wire.StatusNotFound, "ask a node that has one"},
		"a snapshot of a group not here":     {func() (Done, error) { return c.Snapshot(ctx, Place{Group: "none"}) }, wire.StatusNotFound, "ask a node that has one"},
		"a group whose name can't be a name": {func() (Done, error) { return c.Create(ctx, NewGroup{Name: "a/b"}) }, wire.StatusInvalidArgument, "letters"},
	} {
		if d, err := tc.call(); !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, %v", what, d, err)
		}
	}
}

func TestABackupComesInPieces(t *testing.T) {
	s, _ := open(t, 1)
	c, ctx := serve(t, s), patient(t)
	stream, err := c.Backup(ctx, Place{Group: cluster.SystemGroup})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var got []byte
	for {
		piece, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(piece.Data) > chunkSize {
			t.Errorf("a piece of %d bytes", len(piece.Data))
		}
		got = append(got, piece.Data...)
	}
	info, err := stream.Reply()
	if want := (BackupInfo{Group: cluster.SystemGroup, Index: 7, Term: 3, Bytes: int64(len(state))}); err != nil || info != want {
		t.Errorf("%+v, %v, want %+v", info, err, want)
	}
	if !bytes.Equal(got, state) {
		t.Errorf("%d bytes came, which are not the %d of the state", len(got), len(state))
	}
	none, err := c.Backup(ctx, Place{Group: "none"})
	if err == nil {
		defer none.Close()
		_, err = none.Receive()
	}
	if !errors.Is(err, wire.StatusNotFound) {
		t.Errorf("of a group that isn't here: %v", err)
	}
}

// Before there is a cluster, a member says what it waits for.
func TestAMemberWithoutAClusterSaysWhatItWaitsFor(t *testing.T) {
	s, _ := open(t, 3)
	status, err := s.Status(t.Context())
	if err != nil || status.Formed || status.Node != "me" || status.Cluster != "" || !strings.Contains(status.Waits, "for others") || status.Nodes != nil {
		t.Errorf("%+v, %v", status, err)
	}
	if _, err := s.Create(t.Context(), NewGroup{Name: "orders"}); !errors.Is(err, consensus.ErrNoGroup) || !strings.Contains(err.Error(), "in no cluster yet") {
		t.Errorf("making a group: %v", err)
	}
}

// Where nobody leads, what is known is told, and what a change would take.
func TestWithoutALeaderAMemberTellsWhatItKnows(t *testing.T) {
	s, h := open(t, 1)
	if _, err := s.Create(patient(t), NewGroup{Name: "orders"}); err != nil {
		t.Fatal(err)
	}
	h.leaderless.Store(true)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	const takes = "1 of the 1 nodes of the cluster have answered lately; a group needs more than half of its voters"
	status, err := s.Status(short)
	if err != nil || !status.Formed || !strings.Contains(status.Waits, takes) || len(status.Nodes) != 1 {
		t.Errorf("%+v, %v", status, err)
	}
	list, err := s.Groups(short)
	if err != nil || len(list.Groups) != 2 || list.Groups[1].Name != "orders" || list.Groups[1].Leader != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	for what, call := range map[string]func() error{
		"making a group":   func() error { _, err := s.Create(short, NewGroup{Name: "more"}); return err },
		"adding a replica": func() error { _, err := s.Add(short, Place{"orders", "x"}); return err },
		"adding a voter":   func() error { _, err := s.Add(short, Place{cluster.SystemGroup, "x"}); return err },
		"removing a group": func() error { _, err := s.Remove(short, Place{Group: "orders"}); return err },
		"removing a node":  func() error { _, err := s.Remove(short, Place{Node: "x"}); return err },
		"moving a replica": func() error { _, err := s.Move(short, Moving{"orders", "me", "x"}); return err },
		"splitting":        func() error { _, err := s.Split(short, Splitting{"orders", []byte("m"), "later"}); return err },
		"handing over":     func() error { _, err := s.Transfer(short, Place{cluster.SystemGroup, "me"}); return err },
	} {
		if err := call(); !errors.Is(err, consensus.ErrNoLeader) && !errors.Is(err, consensus.ErrTimeout) || !strings.Contains(err.Error(), takes) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What the group says of its members is joined with what the table wants of them.
func TestSeatsOfTheTableAndOfTheGroup(t *testing.T) {
	for name, tc := range map[string]struct {
		table []Seat
		group []consensus.Member
		want  []Seat
	}{
		"both agree": {
			[]Seat{{1, "a", ""}}, []consensus.Member{{Replica: 1, Node: "a"}}, []Seat{{1, "a", "voter"}},
		},
		"one comes": {
			[]Seat{{1, "a", ""}, {2, "b", ""}}, []consensus.Member{{Replica: 1, Node: "a"}}, []Seat{{1, "a", "voter"}, {2, "b", "coming"}},
		},
		"one catches up and one goes": {
			[]Seat{{1, "a", "leaving"}, {2, "b", ""}},
			[]consensus.Member{{Replica: 1, Node: "a"}, {Replica: 2, Node: "b", Role: consensus.NonVoter}},
			[]Seat{{1, "a", "voter, leaving"}, {2, "b", "non-voter"}},
		},
		"the table does not know it": {
			nil, []consensus.Member{{Replica: 5, Node: "e", Role: consensus.Witness}}, []Seat{{5, "e", "witness"}},
		},
	} {
		g := Group{Seats: tc.table}
		if g.fill(tc.group); !slices.Equal(g.Seats, tc.want) {
			t.Errorf("%s: %+v, want %+v", name, g.Seats, tc.want)
		}
	}
}
