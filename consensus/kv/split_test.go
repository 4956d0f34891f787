package kv_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/consensus/single"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// stores are groups of one member, served at sockets of their names.
type stores struct {
	t    *testing.T
	host *single.Host
	all  map[string]*kv.Service
}

func newStores(t *testing.T, names ...string) *stores {
	s := &stores{t: t, host: single.New("n"), all: map[string]*kv.Service{}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
		s.host.Close()
	})
	for _, name := range names {
		g, err := s.host.Start(ctx, consensus.GroupConfig{Name: name, Replica: 1,
			Members: map[consensus.ReplicaID]consensus.NodeID{1: "n"}, Machines: kv.Machines()})
		if err != nil {
			t.Fatal(err)
		}
		server, err := rpc.NewServer(nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.all[name], err = kv.Serve(ctx, server, g); err != nil {
			t.Fatal(err)
		}
		l, err := uds.Listen(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			_ = server.Run(ctx, l.AcceptLink)
			l.Close()
			server.Close()
		})
	}
	return s
}

// client is one that follows keys to wherever they are.
func (s *stores) client(name string) *kv.Client {
	c := kv.DialStore(nil, name, func(group string) []rpc.DialFunc {
		return []rpc.DialFunc{func(ctx context.Context) (link.Link, error) { return uds.Dial(ctx, group, nil) }}
	})
	s.t.Cleanup(func() {
		if err := c.Hang(); err != nil {
			s.t.Error(err)
		}
	})
	return c
}

// give splits a store, in two attempts of which the first one ends somewhere.
func (s *stores) give(from, at, to string, first time.Duration) {
	s.t.Helper()
	short, cancel := context.WithTimeout(s.t.Context(), first)
	defer cancel()
	if kv.Give(short, s.all[from], s.all[to], at, to) == nil {
		return
	}
	if err := kv.Give(patient(s.t), s.all[from], s.all[to], at, to); err != nil {
		s.t.Fatal(err)
	}
}

// keys reads all keys of a client's store, a few at a time.
func keys(t *testing.T, c *kv.Client) (all []string) {
	t.Helper()
	for r := (kv.RangeRequest{Limit: 7}); ; {
		page, err := c.Range(patient(t), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page.Items {
			all = append(all, fmt.Sprintf("%s=%s", i.Key, i.Value))
		}
		if !page.More {
			return all
		}
		r.Start = append(page.Items[len(page.Items)-1].Key, 0)
	}
}

// A store is split twice while callers write: all that was acknowledged is found,
// by clients from before and by new ones, in order, and in one group only.
func TestASplitStoreLosesNothing(t *testing.T) {
	s := newStores(t, "split-a", "split-b", "split-c")
	c := s.client("split-a")
	want := map[string]string{}
	ctx := patient(t)
	put := func(key, value string) {
		if _, err := c.Put(ctx, []byte(key), []byte(value), 0); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		want[key] = value
	}
	for i := range 300 {
		put(fmt.Sprintf("%c%03d", 'a'+i%26, i), "before")
	}
	var busy sync.WaitGroup
	splitting, stop := context.WithCancel(ctx)
	written := make([]map[string]string, 3)
	for i := range written {
		written[i] = map[string]string{}
		busy.Go(func() {
			for n := 0; splitting.Err() == nil; n++ {
				key, value := fmt.Sprintf("%c-%d", 'a'+n%26, i), fmt.Sprint(n)
				if _, err := c.Put(ctx, []byte(key), []byte(value), 0); err != nil {
					t.Errorf("while it is split: %s: %v", key, err)
					return
				}
				written[i][key] = value
			}
		})
	}
	s.give("split-a", "m", "split-b", time.Millisecond)
	s.give("split-a", "f", "split-c", 3*time.Millisecond)
	stop()
	busy.Wait()
	for _, w := range written {
		maps.Copy(want, w)
	}
	var all []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		all = append(all, k+"="+want[k])
	}
	for name, c := range map[string]*kv.Client{"the client from before": c, "a new client": s.client("split-a")} {
		if got := keys(t, c); !slices.Equal(got, all) {
			t.Errorf("%s reads %d keys, want %d", name, len(got), len(all))
		}
	}
	for name, part := range map[string]kv.Part{"split-a": {To: "f", Next: "split-c"}, "split-b": {From: "m"}, "split-c": {From: "f", To: "m", Next: "split-b"}} {
		got, err := s.all[name].Part(patient(t))
		if got.Last = ""; err != nil || got != part {
			t.Errorf("%s: %+v, want %+v, %v", name, got, part, err)
		}
		if moved, err := s.all[name].Moved(patient(t), ""); err != nil || len(moved) > 0 {
			t.Errorf("%s has %d keys of others, %v", name, len(moved), err)
		}
	}
}

// What needs several parts is refused, and so is a split that can't be.
func TestWhatASplitStoreRefuses(t *testing.T) {
	s := newStores(t, "refuse-a", "refuse-b", "refuse-used")
	c, ctx := s.client("refuse-a"), patient(t)
	lease, err := c.Grant(ctx, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for key, id := range map[string]uint64{"a": 0, "m": 0, "z": lease.Id} {
		if _, err := c.Put(ctx, []byte(key), nil, id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.client("refuse-used").Put(ctx, []byte("x"), nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := kv.Give(ctx, s.all["refuse-a"], s.all["refuse-used"], "m", "refuse-used"); !errors.Is(err, kv.ErrCantSplit) || !strings.Contains(err.Error(), "used already") {
		t.Errorf("to a store that was used: %v", err)
	}
	if err := kv.Give(ctx, s.all["refuse-a"], s.all["refuse-b"], "m", "refuse-b"); !errors.Is(err, kv.ErrCantSplit) || !strings.Contains(err.Error(), "lease") {
		t.Errorf("with a lease: %v", err)
	}
	if got, err := c.Get(ctx, kv.GetRequest{Key: []byte("m")}); err != nil || !got.Found {
		t.Errorf("after a refusal: %+v, %v", got, err)
	}
	if err := c.Revoke(ctx, lease.Id); err != nil {
		t.Fatal(err)
	}
	if err := kv.Give(ctx, s.all["refuse-a"], s.all["refuse-b"], "m", "refuse-b"); err != nil {
		t.Fatal(err)
	}
	two := kv.TxnRequest{Then: []kv.Op{{Kind: kv.OpPut, Key: []byte("a")}, {Kind: kv.OpPut, Key: []byte("m")}}}
	if _, err := c.Txn(ctx, two); !errors.Is(err, wire.StatusFailedPrecondition) || !strings.Contains(err.Error(), `"refuse-b"`) {
		t.Errorf("a transaction over two parts: %v", err)
	}
	if _, err := c.Delete(ctx, []byte("a"), []byte("n")); !errors.Is(err, wire.StatusFailedPrecondition) {
		t.Errorf("deleting over two parts: %v", err)
	}
	if r, err := c.Delete(ctx, []byte("m"), []byte("n")); err != nil || r.Deleted != 1 {
		t.Errorf("deleting in one part: %+v, %v", r, err)
	}
	plain := kv.NewKVClient(rpcTo(t, "refuse-a"))
	if _, err := plain.Get(ctx, kv.GetRequest{Key: []byte("m")}); !errors.Is(err, wire.StatusFailedPrecondition) || !strings.Contains(err.Error(), `"refuse-b"`) {
		t.Errorf("who doesn't follow is told: %v", err)
	}
}

// Who may write may not take steps of a split: keys would be lost.
func TestCallersCannotTakeStepsOfASplit(t *testing.T) {
	s := newStores(t, "steps-a")
	c, ctx := s.client("steps-a"), patient(t)
	if _, err := c.Put(ctx, []byte("m"), []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	plain := kv.NewKVClient(rpcTo(t, "steps-a"))
	session, err := plain.OpenSession(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for kind := kv.OpBound; kind <= kv.OpDrop; kind++ {
		ops := []kv.Op{{Kind: kv.OpGet, Key: []byte("a")}, {Kind: kind, Key: []byte("b"), Value: []byte("other")}}
		for name, txn := range map[string]kv.TxnRequest{"then": {Then: ops}, "alone": {Then: ops[1:]}, "else": {Else: ops}} {
			command := kv.Command{Do: kv.Action{Txn: &txn}}
			_, byTxn := plain.Txn(ctx, txn)
			_, byExecute := plain.Execute(ctx, command)
			_, byPropose := plain.Propose(ctx, kv.Proposal{Session: session.Session, Sequence: 1, Command: command})
			for method, err := range map[string]error{"Txn": byTxn, "Execute": byExecute, "Propose": byPropose} {
				if !errors.Is(err, wire.StatusPermissionDenied) {
					t.Errorf("kind %d, %s, by %s: %v", kind, name, method, err)
				}
			}
		}
	}
	if got, err := c.Get(ctx, kv.GetRequest{Key: []byte("m")}); err != nil || !got.Found {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
	if p, err := s.all["steps-a"].Part(ctx); err != nil || p != (kv.Part{Last: "m"}) {
		t.Errorf("afterwards it has %+v, %v", p, err)
	}
}

func rpcTo(t *testing.T, name string) rpc.Caller {
	t.Helper()
	conn, err := rpc.Connect(patient(t), uds.Dialer(name, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
