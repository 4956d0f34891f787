package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/internal/wall"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/consensus/single"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kv") // sockets want short paths
	if err != nil {
		panic(err)
	}
	os.Setenv("CELL_RUNTIME_DIR", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// patient lasts for long enough also on a host that is busy with others.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// serve serves a store of one member at a socket and returns a client of it.
func serve(t *testing.T) (*kv.Client, *kv.KVClient) {
	t.Helper()
	conn := connect(t)
	return kv.NewClient(conn), kv.NewKVClient(conn)
}

func connect(t *testing.T) rpc.Caller {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := single.New("n")
	g, err := h.Start(ctx, consensus.GroupConfig{Name: "kv", Replica: 1,
		Members: map[consensus.ReplicaID]consensus.NodeID{1: "n"}, Machines: kv.Machines()})
	if err != nil {
		t.Fatal(err)
	}
	server, err := rpc.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Serve(ctx, server, g); err != nil {
		t.Fatal(err)
	}
	l, err := uds.Listen("kv", nil)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx, l.AcceptLink) }()
	conn, err := rpc.Connect(ctx, uds.Dialer("kv", nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		cancel()
		<-served
		l.Close()
		server.Close()
		h.Close()
	})
	return conn
}

// hangs is a member that never answers.
type hangs struct{ rpc.Caller }

func (hangs) Call(ctx context.Context, _ *rpc.Method, _ rpc.Encoder, _ rpc.Decoder) error {
	<-ctx.Done()
	return rpc.Errorf(wire.StatusDeadlineExceeded, "no answer: %w", ctx.Err())
}

func TestWritesLeaveAMemberThatHangs(t *testing.T) {
	conn := connect(t)
	c := kv.NewClient(hangs{}, conn)
	ctx := patient(t)
	if put, err := c.Put(ctx, []byte("a"), []byte("1"), 0); err != nil || put.Revision != 1 {
		t.Errorf("%+v, %v", put, err)
	}
	// One call alone need not get that far: the next one begins where it left off.
	c = kv.NewClient(hangs{}, conn)
	short, end := context.WithTimeout(ctx, time.Millisecond)
	defer end()
	if _, err := c.Get(short, kv.GetRequest{Key: []byte("a")}); !errors.Is(err, wire.StatusDeadlineExceeded) {
		t.Errorf("a member that hangs: %v", err)
	}
	if _, err := c.Get(ctx, kv.GetRequest{Key: []byte("a")}); err != nil {
		t.Error(err)
	}
}

func TestWatchBeginsAtItsRevision(t *testing.T) {
	c, direct := serve(t)
	ctx := patient(t)
	watch, err := direct.Watch(ctx, kv.WatchRequest{All: true, From: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for range 4 {
		if _, err := c.Put(ctx, []byte("a"), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := watch.Receive(); err != nil || e.Revision != 3 {
		t.Errorf("revision %d first, %v", e.Revision, err)
	}
}

func TestKeys(t *testing.T) {
	c, direct := serve(t)
	ctx := patient(t)
	put, err := c.Put(ctx, []byte("a"), []byte("1"), 0)
	if err != nil || put.Existed || put.Revision != 1 {
		t.Fatalf("%+v, %v", put, err)
	}
	if again, err := direct.Put(ctx, kv.PutRequest{Key: []byte("a"), Value: []byte("2")}); err != nil || !again.Existed || again.Revision != 2 {
		t.Errorf("%+v, %v", again, err)
	}
	got, err := c.Get(ctx, kv.GetRequest{Key: []byte("a")})
	if err != nil || !got.Found || string(got.Value) != "2" || got.Created != 1 || got.Modified != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.Get(ctx, kv.GetRequest{Key: []byte("none"), Stale: true}); err != nil || got.Found {
		t.Errorf("a missing key: %+v, %v", got, err)
	}
	for _, cas := range []struct {
		key      string
		revision uint64
		set      bool
		now      uint64
	}{{"a", 1, false, 2}, {"a", 2, true, 3}, {"a", 0, false, 3}, {"b", 0, true, 4}, {"c", 9, false, 0}} {
		r, err := c.CompareAndSet(ctx, []byte(cas.key), cas.revision, []byte("x"))
		if err != nil || r.Set != cas.set || r.Revision != cas.now {
			t.Errorf("%+v: %+v, %v", cas, r, err)
		}
	}
	for i := range 10 {
		if _, err := c.Put(ctx, fmt.Appendf(nil, "r/%d", i), []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
	}
	r, err := c.Range(ctx, kv.RangeRequest{Start: []byte("r/"), End: []byte("r0"), Limit: 4})
	if err != nil || len(r.Items) != 4 || !r.More || string(r.Items[3].Key) != "r/3" {
		t.Errorf("%+v, %v", r, err)
	}
	d, err := c.Delete(ctx, []byte("r/2"), []byte("r/7"))
	if err != nil || d.Deleted != 5 {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := c.Delete(ctx, []byte("r/2"), nil); err != nil || d.Deleted != 0 {
		t.Errorf("deleted twice: %+v, %v", d, err)
	}
	info, err := c.Info(ctx)
	if err != nil || info.Keys != 7 || info.Leader != 1 || len(info.Members) != 1 {
		t.Errorf("%+v, %v", info, err)
	}
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestTransactions(t *testing.T) {
	c, _ := serve(t)
	ctx := patient(t)
	transfer := kv.TxnRequest{
		If: []kv.Condition{{Test: kv.TestValue, Key: []byte("from"), Value: []byte("10")}, {Test: kv.TestMissing, Key: []byte("lock")}},
		Then: []kv.Op{
			{Kind: kv.OpPut, Key: []byte("from"), Value: []byte("0")},
			{Kind: kv.OpPut, Key: []byte("to"), Value: []byte("10")},
		},
		Else: []kv.Op{{Kind: kv.OpGet, Key: []byte("from")}},
	}
	r, err := c.Txn(ctx, transfer)
	if err != nil || r.Succeeded || len(r.Results) != 1 || r.Results[0].Found {
		t.Errorf("without the key: %+v, %v", r, err)
	}
	if _, err := c.Put(ctx, []byte("from"), []byte("10"), 0); err != nil {
		t.Fatal(err)
	}
	if r, err = c.Txn(ctx, transfer); err != nil || !r.Succeeded || len(r.Results) != 2 || string(r.Results[0].Value) != "10" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = c.Txn(ctx, transfer); err != nil || r.Succeeded || string(r.Results[0].Value) != "0" {
		t.Errorf("twice: %+v, %v", r, err)
	}
}

func TestRefusals(t *testing.T) {
	c, direct := serve(t)
	ctx := patient(t)
	for name, call := range map[string]func() error{
		"an empty key":            func() error { _, err := c.Put(ctx, nil, nil, 0); return err },
		"a long key":              func() error { _, err := c.Put(ctx, make([]byte, kv.MaxKey+1), nil, 0); return err },
		"a long value":            func() error { _, err := c.Put(ctx, []byte("k"), make([]byte, kv.MaxValue+1), 0); return err },
		"a lease that is none":    func() error { _, err := c.Put(ctx, []byte("k"), nil, 77); return err },
		"a short lease":           func() error { _, err := c.Grant(ctx, time.Millisecond); return err },
		"a test that is none":     func() error { _, err := c.Txn(ctx, kv.TxnRequest{If: []kv.Condition{{Key: []byte("k")}}}); return err },
		"an operation of no kind": func() error { _, err := c.Txn(ctx, kv.TxnRequest{Then: []kv.Op{{Key: []byte("k")}}}); return err },
		"too many operations":     func() error { _, err := c.Txn(ctx, kv.TxnRequest{Then: make([]kv.Op, kv.MaxOps+1)}); return err },
	} {
		if err := call(); !errors.Is(err, wire.StatusInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Revoke(ctx, 5); !errors.Is(err, wire.StatusNotFound) {
		t.Errorf("revoking a lease that is none: %v", err)
	}
	if o, err := direct.Execute(ctx, kv.Command{}); err != nil || wire.Status(o.Status) != wire.StatusUnimplemented {
		t.Errorf("a command of no kind: %+v, %v", o, err)
	}
	if _, err := direct.Propose(ctx, kv.Proposal{Session: 12345, Sequence: 1}); !errors.Is(err, wire.StatusFailedPrecondition) {
		t.Errorf("an unknown session: %v", err)
	}
	if got, err := c.Get(ctx, kv.GetRequest{Key: []byte("k")}); err != nil || got.Found {
		t.Errorf("refused, and there: %+v, %v", got, err)
	}
}

func TestLeasesEnd(t *testing.T) {
	c, direct := serve(t)
	ctx := patient(t)
	defer wall.Jump(0)
	l, err := c.Grant(ctx, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(ctx, []byte("mine"), []byte("x"), l.Id); err != nil {
		t.Fatal(err)
	}
	watch, err := direct.Watch(ctx, kv.WatchRequest{Key: []byte("mine"), From: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	if kept, err := c.KeepAlive(ctx, l.Id); err != nil || kept.Ttl != int64(time.Minute) {
		t.Errorf("%+v, %v", kept, err)
	}
	wall.Jump(2 * time.Minute)
	var changes []kv.Change
	for len(changes) < 2 {
		e, err := watch.Receive()
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, e.Change)
	}
	if changes[0] != kv.ChangePut || changes[1] != kv.ChangeExpired {
		t.Errorf("%v", changes)
	}
	if got, err := c.Get(ctx, kv.GetRequest{Key: []byte("mine")}); err != nil || got.Found {
		t.Errorf("after the lease: %+v, %v", got, err)
	}
	if _, err := c.KeepAlive(ctx, l.Id); !errors.Is(err, wire.StatusNotFound) {
		t.Errorf("keeping a lease that has ended: %v", err)
	}
	l2, err := c.Grant(ctx, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(ctx, []byte("other"), nil, l2.Id); err != nil {
		t.Fatal(err)
	}
	if err := c.Revoke(ctx, l2.Id); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.Get(ctx, kv.GetRequest{Key: []byte("other")}); got.Found {
		t.Error("the key of a revoked lease is there")
	}
}

func TestWatchSendsEveryChangeInOrder(t *testing.T) {
	c, direct := serve(t)
	ctx := patient(t)
	const n = 500
	watch, err := direct.Watch(ctx, kv.WatchRequest{Key: []byte("w/"), End: []byte("w0"), From: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	go func() {
		for i := range n {
			_, _ = c.Put(ctx, fmt.Appendf(nil, "w/%d", i%7), fmt.Append(nil, i), 0)
			_, _ = c.Put(ctx, []byte("elsewhere"), nil, 0)
		}
	}()
	last := uint64(0)
	for i := range n {
		e, err := watch.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if string(e.Value) != fmt.Sprint(i) || e.Revision <= last {
			t.Fatalf("event %d: %s=%s at revision %d after %d", i, e.Key, e.Value, e.Revision, last)
		}
		last = e.Revision
	}
	// What is no longer remembered is refused, not left out.
	for i := range 70 {
		ops := make([]kv.Op, 256)
		for j := range ops {
			ops[j] = kv.Op{Kind: kv.OpPut, Key: fmt.Appendf(nil, "many/%d", j), Value: fmt.Append(nil, i)}
		}
		if _, err := c.Txn(ctx, kv.TxnRequest{Then: ops}); err != nil {
			t.Fatal(err)
		}
	}
	late, err := direct.Watch(ctx, kv.WatchRequest{All: true, From: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if _, err := late.Receive(); !errors.Is(err, wire.StatusOutOfRange) {
		if _, err = late.Reply(); !errors.Is(err, wire.StatusOutOfRange) {
			t.Errorf("from a revision long gone: %v", err)
		}
	}
}

// random makes a log of everything that the machine can do.
func random(n int, seed uint64) [][]byte {
	r := rand.New(rand.NewPCG(seed, 1))
	key := func() []byte { return fmt.Appendf(nil, "k%d", r.IntN(50)) }
	var all [][]byte
	now := int64(1e9)
	for range n {
		now += int64(r.IntN(3e8))
		var a kv.Action
		switch r.IntN(10) {
		case 0:
			a.Grant = &kv.GrantRequest{Ttl: int64(1+r.IntN(5)) * 1e9}
		case 1:
			a.KeepAlive = &kv.LeaseRequest{Id: uint64(r.IntN(n))}
		case 2:
			a.Revoke = &kv.LeaseRequest{Id: uint64(r.IntN(n))}
		case 3:
			a.Expire = &kv.Expire{}
		case 4: // what splits a store, above most of the keys
			o := kv.Op{Kind: kv.OpBound + kv.OpKind(r.IntN(5)), Key: fmt.Appendf(nil, "k4%d", r.IntN(10)), Value: []byte("other")}
			a.Txn = &kv.TxnRequest{Then: []kv.Op{o}}
		default:
			t := &kv.TxnRequest{If: []kv.Condition{{Test: kv.Test(1 + r.IntN(4)), Key: key(), Revision: uint64(r.IntN(n))}}}
			for range r.IntN(5) {
				t.Then = append(t.Then, kv.Op{Kind: kv.OpKind(1 + r.IntN(3)), Key: key(), Value: key()})
				t.Else = append(t.Else, kv.Op{Kind: kv.OpKind(1 + r.IntN(3)), Key: key(), End: key(), Value: key(), Lease: uint64(r.IntN(3))})
			}
			a.Txn = t
		}
		c := kv.Command{Do: a}
		b := make([]byte, c.SizeCell())
		if _, err := c.EncodeCell(b); err != nil {
			panic(err)
		}
		all = append(all, consensus.EncodeCommand(b, time.Unix(0, now)))
	}
	return all
}

func TestTheMachineIsDeterministic(t *testing.T) {
	for seed := range uint64(3) {
		if err := consensus.Check(kv.Machines(), random(1500, seed), consensus.CheckOptions{}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func FuzzRestore(f *testing.F) {
	m := kv.New()
	var b bytes.Buffer
	fz, _ := m.Freeze()
	if err := fz.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, snapshot []byte) {
		m := kv.New()
		if err := m.Restore(bytes.NewReader(snapshot)); err != nil && !errors.Is(err, consensus.ErrDamaged) {
			t.Error(err)
		}
	})
}

func FuzzCommand(f *testing.F) {
	for _, e := range random(20, 1) {
		f.Add(e[9:])
	}
	f.Fuzz(func(t *testing.T, command []byte) {
		if err := consensus.Check(kv.Machines(), [][]byte{consensus.EncodeCommand(command, time.Unix(1, 0))}, consensus.CheckOptions{Every: 1, Replicas: 2}); err != nil {
			t.Error(err)
		}
	})
}
