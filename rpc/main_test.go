package rpc_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/uds"
)

// patience bounds everything that a test waits for on a busy machine.
const patience = 60 * time.Second

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// startEngine returns a running engine, which is stopped in the end.
func startEngine(t testing.TB, idle engine.Idle) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Config{CPU: engine.Unpinned, Idle: idle})
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

// openers are the links that this package's tests run over.
var openers = []struct {
	name string
	open func(t testing.TB) (server, client link.Link)
}{
	{"pipe", openPipe},
	{"ring", func(t testing.TB) (server, client link.Link) { return openUDS(t, uds.PathRing) }},
	{"stream", func(t testing.TB) (server, client link.Link) { return openUDS(t, uds.PathStream) }},
}

func openPipe(t testing.TB) (server, client link.Link) {
	t.Helper()
	a, b, err := linktest.Pipe(linktest.PipeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// privateDir returns a runtime directory with a short path.
func privateDir(t testing.TB) string {
	t.Helper()
	d, err := os.MkdirTemp("", "rpc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return d
}

func openUDS(t testing.TB, path uds.Path) (server, client link.Link) {
	t.Helper()
	return openUDSFor(t, path, 30<<10)
}

// openUDSFor opens a link for payloads of up to most bytes.
func openUDSFor(t testing.TB, path uds.Path, most int) (server, client link.Link) {
	t.Helper()
	o := &uds.Options{Dir: privateDir(t), Path: path, RingSize: 64 << 10, MaxPayload: most}
	l, err := uds.Listen("test", o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type result struct {
		c   *uds.Conn
		err error
	}
	got := make(chan result, 1)
	ctx := soon(t)
	go func() {
		c, err := l.Accept(ctx)
		got <- result{c, err}
	}()
	d, err := uds.Dial(ctx, "test", o)
	if err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.c, d
}

func newServer(t testing.TB, o *rpc.ServerOptions) *rpc.Server {
	t.Helper()
	s, err := rpc.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// connect serves s over a new link on an engine of its own and returns a
// connection to it.
func connect(t testing.TB, s *rpc.Server, open func(testing.TB) (server, client link.Link), o *rpc.ConnOptions) *rpc.Conn {
	t.Helper()
	a, b := open(t)
	if err := s.Serve(startEngine(t, engine.IdleAdaptive), a); err != nil {
		t.Fatal(err)
	}
	c, err := rpc.NewConn(b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func blockingArith(t testing.TB, s *rpc.Server) *arith.Blocking {
	t.Helper()
	impl := &arith.Blocking{Hang: make(chan struct{})}
	if err := arith.RegisterArith(s, impl); err != nil {
		t.Fatal(err)
	}
	return impl
}

func viewsArith(t testing.TB, s *rpc.Server) *arith.Views {
	t.Helper()
	impl := &arith.Views{Blocking: arith.Blocking{Hang: make(chan struct{})}}
	if err := arith.RegisterArithViews(s, impl.ArithViews()); err != nil {
		t.Fatal(err)
	}
	return impl
}

// eventually waits until f returns true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not as expected", what)
		}
	}
}
