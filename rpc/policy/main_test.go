package policy_test

import (
	"context"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/rpc/policy"
)

// patience bounds everything that a test waits for on a busy machine.
const patience = 60 * time.Second

// TestMain checks that the tests leave no goroutine behind.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	for end := time.Now().Add(patience); code == 0 && runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			os.Stderr.Write(stacks[:runtime.Stack(stacks, true)])
			code = 1
			break
		}
	}
	os.Exit(code)
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func ok[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wrap applies policies to a caller.
func wrap(t testing.TB, next rpc.Caller, o policy.Options) rpc.Caller {
	t.Helper()
	return rpc.Wrap(next, ok[rpc.ClientMiddleware](t)(policy.New(o)))
}

// Methods of the service that the tests call.
var (
	add  = arith.ArithDesc.Method("Add")  // idempotent
	echo = arith.ArithDesc.Method("Echo") // not
	note = arith.ArithDesc.Method("Note") // one-way
	tick = arith.ArithDesc.Method("Tick")
)

// scripted is a caller whose calls end as a function says.
type scripted struct {
	rpc.Caller // nil: what a test does not expect panics
	calls      atomic.Int64
	call       func(ctx context.Context, n int, m *rpc.Method, req rpc.Encoder, reply rpc.Decoder) error
}

func (s *scripted) Call(ctx context.Context, m *rpc.Method, req rpc.Encoder, reply rpc.Decoder) error {
	return s.call(ctx, int(s.calls.Add(1)), m, req, reply)
}

func (s *scripted) Send(ctx context.Context, m *rpc.Method, req rpc.Encoder) error {
	return s.call(ctx, int(s.calls.Add(1)), m, req, nil)
}

// fails returns a caller whose calls end with one error after the other, the
// last of them for ever.
func fails(errs ...error) *scripted {
	return &scripted{call: func(_ context.Context, n int, _ *rpc.Method, _ rpc.Encoder, _ rpc.Decoder) error {
		return errs[min(n, len(errs))-1]
	}}
}

// hangs is a caller that knows nothing of deadlines but the end of ctx.
func hangs() *scripted {
	return &scripted{call: func(ctx context.Context, _ int, m *rpc.Method, _ rpc.Encoder, _ rpc.Decoder) error {
		<-ctx.Done()
		return rpc.Errorf(rpc.StatusOf(ctx.Err()), "gave up")
	}}
}

// call makes a call of m.
func call(ctx context.Context, c rpc.Caller, m *rpc.Method) error {
	var reply arith.AddReply
	return c.Call(ctx, m, arith.AddRequest{A: 1, B: 2}, &reply)
}

// startEngine returns a running engine, which is stopped in the end.
func startEngine(t testing.TB) *engine.Engine {
	t.Helper()
	e := ok[*engine.Engine](t)(engine.New(engine.Config{CPU: engine.Unpinned}))
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

// serveArith serves Arith on e and returns a function that dials it.
func serveArith(t testing.TB, e *engine.Engine) (dial rpc.DialFunc, s *rpc.Server, impl *arith.Blocking) {
	t.Helper()
	s = ok[*rpc.Server](t)(rpc.NewServer(nil))
	impl = &arith.Blocking{Hang: make(chan struct{})}
	if err := arith.RegisterArith(s, impl); err != nil {
		t.Fatal(err)
	}
	return func(context.Context) (link.Link, error) {
		a, b, err := linktest.Pipe(linktest.PipeConfig{})
		if err != nil {
			return nil, err
		}
		if err := s.Serve(e, a); err != nil {
			return nil, err
		}
		return b, nil
	}, s, impl
}

// connect returns a connection that dials again what is lost.
func connect(t testing.TB, dial rpc.DialFunc) *rpc.Conn {
	t.Helper()
	c := ok[*rpc.Conn](t)(rpc.Connect(soon(t), dial, nil))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// hangText is the request that makes Echo hang; discard takes any reply.
var hangText = arith.Text{Bytes: []byte("hang")}

type discard struct{}

func (*discard) DecodeCell([]byte) error { return nil }
