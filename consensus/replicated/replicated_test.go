package replicated_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/consensus/replicated"
	"github.com/cell-runtime/cell/consensus/single"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// The service borrows messages of package kv.
var desc = rpc.Describe(rpc.ServiceDesc{Name: "Counter", Methods: []rpc.Method{
	{Name: "Add", Fingerprint: 11, Mode: schema.Unary, Request: rpc.Shape{Block: kv.LeaseRequestBlock}, Reply: rpc.Shape{Block: kv.LeaseBlock}},
	{Name: "Get", Fingerprint: 12, Mode: schema.Unary, Reply: rpc.Shape{Block: kv.LeaseBlock}},
	{Name: "Peek", Fingerprint: 13, Mode: schema.Unary, Reply: rpc.Shape{Block: kv.LeaseBlock}},
}})

type counter struct{ N uint64 }

func (c *counter) Snapshot(w io.Writer) error { return json.NewEncoder(w).Encode(c) }
func (c *counter) Restore(r io.Reader) error  { return json.NewDecoder(r).Decode(c) }

func (c *counter) add(_ *consensus.Entry, req kv.LeaseRequest) (kv.Lease, error) {
	if req.Id > 100 {
		return kv.Lease{}, rpc.Errorf(wire.StatusOutOfRange, "%d is too much", req.Id)
	}
	c.N += req.Id
	return kv.Lease{Id: c.N}, nil
}

func (c *counter) get(rpc.Empty) (kv.Lease, error) { return kv.Lease{Id: c.N}, nil }

func methods() *replicated.Methods[*counter] {
	ms := replicated.New(desc, func() *counter { return &counter{} })
	replicated.Write(ms, "Add", (*counter).add)
	replicated.Read(ms, "Get", (*counter).get)
	replicated.Stale(ms, "Peek", -1, (*counter).get)
	return ms
}

func TestAServiceBecomesReplicated(t *testing.T) {
	dir, err := os.MkdirTemp("", "rep")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	t.Setenv("CELL_RUNTIME_DIR", dir)
	h := single.New("n")
	defer h.Close()
	ms := methods()
	g, err := h.Start(t.Context(), consensus.GroupConfig{Name: "c", Replica: 1,
		Members: map[consensus.ReplicaID]consensus.NodeID{1: "n"}, Machines: ms.Machines()})
	if err != nil {
		t.Fatal(err)
	}
	server, err := rpc.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := ms.Serve(server, g); err != nil {
		t.Fatal(err)
	}
	l, err := uds.Listen("counter", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx, l.AcceptLink) }()
	defer func() { cancel(); <-served }()
	conn, err := rpc.Connect(ctx, uds.Dialer("counter", nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var reply kv.Lease
	call := func(method string, n uint64) error {
		var req rpc.Encoder = rpc.Empty{}
		if method == "Add" {
			req = kv.LeaseRequest{Id: n}
		}
		return conn.Call(ctx, desc.Method(method), req, &reply)
	}
	for i := range 5 {
		if err := call("Add", 10); err != nil || reply.Id != uint64(10*(i+1)) {
			t.Fatalf("%+v, %v", reply, err)
		}
	}
	if err := call("Add", 101); !errors.Is(err, wire.StatusOutOfRange) || !strings.Contains(err.Error(), "too much") {
		t.Errorf("the method's own error: %v", err)
	}
	for _, m := range []string{"Get", "Peek"} {
		if err := call(m, 0); err != nil || reply.Id != 50 {
			t.Errorf("%s: %+v, %v", m, reply, err)
		}
	}
}

func TestTheMachineIsChecked(t *testing.T) {
	ms := methods()
	var log [][]byte
	for i := range 200 {
		c, err := ms.Command("Add", kv.LeaseRequest{Id: uint64(i)})
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, consensus.EncodeCommand(c, time.Unix(int64(i), 0)))
	}
	log = append(log, consensus.EncodeCommand([]byte("junk"), time.Unix(0, 0)), consensus.EncodeCommand([]byte("longer junk"), time.Unix(0, 0)))
	if err := consensus.Check(ms.Machines(), log, consensus.CheckOptions{}); err != nil {
		t.Error(err)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	missing := replicated.New(desc, func() *counter { return &counter{} })
	replicated.Write(missing, "Add", (*counter).add)
	unknown := methods()
	replicated.Read(unknown, "Sum", (*counter).get)
	double := methods()
	replicated.Read(double, "Get", (*counter).get)
	for name, c := range map[string]struct {
		ms   *replicated.Methods[*counter]
		says string
	}{"a method left out": {missing, "Get"}, "a method that is none": {unknown, "Sum"}, "a method given twice": {double, "twice"}} {
		if err := c.ms.Check(); !errors.Is(err, consensus.ErrConfig) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := methods().Command("Get", rpc.Empty{}); !errors.Is(err, consensus.ErrConfig) {
		t.Errorf("a command of a read: %v", err)
	}
}
