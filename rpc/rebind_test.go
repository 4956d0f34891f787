package rpc_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// replaced connects to the first of several servers; each further link goes to
// the next one. The result ends the link that is open.
func replaced(t *testing.T, servers ...*rpc.Server) (conn *rpc.Conn, lose func()) {
	t.Helper()
	e := startEngine(t, engine.IdleAdaptive)
	dialed := -1
	conn, err := rpc.Connect(soon(t), func(context.Context) (link.Link, error) {
		a, b := openPipe(t)
		if dialed+1 < len(servers) {
			dialed++
		}
		return b, servers[dialed].Serve(e, a)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, func() { _ = servers[dialed].Close() }
}

// Whoever takes a lost server's place may have another form: a call finds out
// by itself, also one that meets the loss.
func TestAServerIsReplacedByAnotherVersion(t *testing.T) {
	one, two, three := describe(t, pricesOne), describe(t, pricesTwo, pricesOne), describe(t, pricesThree)
	for _, c := range []struct {
		name          string
		client        *rpc.ServiceDesc
		first, second *rpc.ServiceDesc
		broken        bool
	}{
		{"old client, old server becomes new", one, one, two, false},
		{"new client, old server becomes new", two, one, two, false},
		{"new client, new server becomes old", two, two, one, false},
		{"new client, old server becomes old", two, one, one, false},
		{"new server becomes another", two, two, three, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := newServer(t, nil), newServer(t, nil)
			registerPrices(t, a, c.first, 1)
			registerPrices(t, b, c.second, 2)
			conn, lose := replaced(t, a, b)
			for i := range 2 {
				var reply raw
				err := conn.Call(soon(t), &c.client.Methods[0], order(c.client, 7), &reply)
				if c.broken && i > 0 {
					checkMismatch(t, err, c.client, c.second)
					return
				}
				if err != nil || len(reply) < 4 || reply[0] != 7 || reply[3] != byte(i+1) {
					t.Fatalf("call %d: reply %v, %v", i, reply, err)
				}
				lose()
			}
		})
	}
}

// What a handler says must not be taken for a server that has no handler: the
// call was executed, and must not be executed twice.
func TestAHandlerThatSaysUnimplementedRunsOnce(t *testing.T) {
	d := describe(t, pricesOne)
	s := newServer(t, nil)
	var runs atomic.Int32
	if err := s.Register(d, rpc.Inline(func(*rpc.Call, []byte, []byte) (int, error) {
		runs.Add(1)
		return 0, rpc.Errorf(wire.StatusUnimplemented, "not yet")
	})); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, s, openPipe, nil)
	var reply raw
	err := conn.Call(soon(t), &d.Methods[0], order(d, 7), &reply)
	if !errors.Is(err, wire.StatusUnimplemented) || !strings.Contains(err.Error(), "not yet") || runs.Load() != 1 {
		t.Errorf("%v after %d runs", err, runs.Load())
	}
}

// Two forms of all that is not unary, and a third that breaks with them.
const (
	flowsOne = `cell 1

struct Item {
	Price int32
}

service Flows {
	oneway Tell(Item)
	call Watch(Item, out Item)
	topic Changes(Item)
}
`
	flowsTwo = `cell 1

struct Item {
	Price int32
	Size int32
}

service Flows {
	oneway Tell(Item)
	call Watch(Item, out Item)
	topic Changes(Item)
}
`
	flowsThree = `cell 1

struct Item {
	Price int64
}

service Flows {
	oneway Tell(Item)
	call Watch(Item, out Item)
	topic Changes(Item)
}
`
)

// A stream, a subscription and a one-way request can't be made again when the
// server refuses them, so they are bound beforehand, and on each link anew.
func TestWhatIsNotUnaryIsBoundBeforehand(t *testing.T) {
	one, two, three := describeFlows(t, flowsOne), describeFlows(t, flowsTwo, flowsOne), describeFlows(t, flowsThree)
	for _, c := range []struct {
		name           string
		client, server *rpc.ServiceDesc
		refuses        bool
	}{
		{"same", two, two, false},
		{"old client, new server", one, two, false},
		{"new client, old server", two, one, false},
		{"broken change", three, two, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, toldA := flowServer(t, c.server)
			b, toldB := flowServer(t, c.server)
			conn, lose := replaced(t, a, b)
			for i, told := range []chan struct{}{toldA, toldB} {
				for conn.Ping(soon(t)) != nil { // a connection notices a loss when it is used
				}
				useFlows(t, conn, c.client, c.refuses)
				if !c.refuses {
					select {
					case <-told:
					case <-soon(t).Done():
						t.Fatalf("link %d: the one-way request did not arrive", i)
					}
				}
				lose()
			}
		})
	}
}

func describeFlows(t *testing.T, text string, olds ...string) *rpc.ServiceDesc {
	t.Helper()
	d := describe(t, text, olds...)
	for i := range d.Methods {
		d.Methods[i].Request.Block = max(d.Methods[i].Request.Block, 4)
	}
	return d
}

// flowServer serves d; told gets a word for each one-way request.
func flowServer(t *testing.T, d *rpc.ServiceDesc) (s *rpc.Server, told chan struct{}) {
	t.Helper()
	s, told = newServer(t, nil), make(chan struct{}, 16)
	err := s.Register(d,
		rpc.Inline(func(*rpc.Call, []byte, []byte) (int, error) { told <- struct{}{}; return 0, nil }),
		rpc.Blocking(func(_ context.Context, x *rpc.Exchange) error { return x.Send(raw{1, 0, 0, 0}) }),
		rpc.Handler{})
	if err != nil {
		t.Fatal(err)
	}
	return s, told
}

// useFlows uses every method of the client's form.
func useFlows(t *testing.T, conn *rpc.Conn, client *rpc.ServiceDesc, refuses bool) {
	t.Helper()
	ask := make(raw, client.Methods[0].Request.Block)
	errs := make([]error, len(client.Methods))
	errs[0] = conn.Send(soon(t), client.Method("Tell"), ask)
	if stream, err := conn.Stream(soon(t), client.Method("Watch"), ask); err != nil {
		errs[1] = err
	} else {
		var item raw
		errs[1] = stream.Receive(&item)
		_ = stream.Close()
	}
	if sub, err := conn.Subscribe(soon(t), client.Method("Changes"), rpc.SubscribeOptions{}); err != nil {
		errs[2] = err
	} else {
		_ = sub.Close()
	}
	for i, err := range errs {
		if !refuses && err != nil {
			t.Errorf("%s: %v", client.Methods[i].Name, err)
		}
		if refuses && (!errors.Is(err, wire.StatusFingerprint) || !strings.Contains(err.Error(), "Item.Price")) {
			t.Errorf("%s: %v; want it to name Item.Price", client.Methods[i].Name, err)
		}
	}
}
