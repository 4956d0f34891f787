package forward_test

import (
	"context"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/rpc/rpctest"
)

// patience bounds everything that a test waits for on a busy machine.
const patience = 60 * time.Second

// startEngine returns a running engine, which is stopped in the end.
func startEngine(t testing.TB) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Config{CPU: engine.Unpinned})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func newForwarder(t testing.TB, e *engine.Engine, o *forward.Options) *forward.Forwarder {
	t.Helper()
	f, err := forward.New(e, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func pipe(t testing.TB, c linktest.PipeConfig) (a, b *linktest.End) {
	t.Helper()
	a, b, err := linktest.Pipe(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// Whatever can be called can be called through a bridge.
func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name           string
		caller, target int // MaxPayload of the two links
	}{
		{"links alike", 4096, 4096},
		{"into a narrower link", 16384, 4200},
		{"into a wider link", 4200, 16384},
	} {
		t.Run(c.name, func(t *testing.T) {
			rpctest.Run(t, rpctest.Harness{Open: func(t testing.TB) (server, client link.Link) {
				e := startEngine(t)
				f := newForwarder(t, e, nil)
				near, client := pipe(t, linktest.PipeConfig{MaxPayload: c.caller})
				server, far := pipe(t, linktest.PipeConfig{MaxPayload: c.target})
				bridged(t, f, near, far)
				return server, client
			}})
		})
	}
}

// bridged joins two links for as long as both live.
func bridged(t testing.TB, f *forward.Forwarder, caller, target link.Link) {
	t.Helper()
	d := f.NewTarget("the server")
	if err := d.ServeRest(); err != nil {
		t.Fatal(err)
	}
	gone, err := d.Attach(target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.AddCaller(caller); err != nil {
		t.Fatal(err)
	}
	_ = gone
}
