package balance_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/balance"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/uds"
)

// patience bounds everything that a test waits for on a busy machine.
const patience = 60 * time.Second

// childEnv has the tests' binary be an instance in a process of its own.
const childEnv = "CELL_BALANCE_TEST_CHILD"

// TestMain checks that the tests leave no goroutine behind.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		serveChild(dir)
	}
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

// serveChild serves Arith in dir until it is killed.
func serveChild(dir string) {
	time.AfterFunc(5*time.Minute, func() { os.Exit(3) }) // never outlive a test for long
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(2)
		}
	}
	s, err := rpc.NewServer(nil)
	fail(err)
	fail(arith.RegisterArith(s, &arith.Blocking{Hang: make(chan struct{})}))
	l, err := uds.Listen("arith", &uds.Options{Dir: dir, RingSize: 64 << 10})
	fail(err)
	fmt.Println("listening")
	fail(s.Run(context.Background(), l.AcceptLink))
	os.Exit(0)
}

// spawn starts an instance in a process of its own and returns when it
// listens. It is killed at the test's end at the latest.
func spawn(t testing.TB, dir string) (kill func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	said := make([]byte, 64)
	n, err := out.Read(said)
	if err != nil || !strings.HasPrefix(string(said[:n]), "listening") {
		t.Fatalf("the child said %q: %v", said[:n], err)
	}
	return kill
}

// dial connects to an instance in a process of its own.
func dial(t testing.TB, dir string) *rpc.Conn {
	t.Helper()
	c := ok[*rpc.Conn](t)(rpc.Connect(soon(t), uds.Dialer("arith", &uds.Options{Dir: dir, RingSize: 64 << 10}), nil))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func privateDir(t testing.TB) string {
	t.Helper()
	d := ok[string](t)(os.MkdirTemp("", "balance"))
	t.Cleanup(func() { os.RemoveAll(d) })
	return d
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

func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s has not come about", what)
		}
	}
}

// Methods of the service that the tests call.
var (
	add  = arith.ArithDesc.Method("Add")  // idempotent
	echo = arith.ArithDesc.Method("Echo") // not
	note = arith.ArithDesc.Method("Note") // one-way
)

// scripted is an instance whose calls end as a function says.
type scripted struct {
	rpc.Caller // nil: what a test does not expect panics
	calls      atomic.Int64
	outcome    atomic.Value // func(ctx) error
	sum        int64
}

func (s *scripted) ends(f func(ctx context.Context) error) { s.outcome.Store(f) }
func (s *scripted) fails(err error)                        { s.ends(func(context.Context) error { return err }) }

func (s *scripted) Call(ctx context.Context, _ *rpc.Method, _ rpc.Encoder, reply rpc.Decoder) error {
	s.calls.Add(1)
	if f, ok := s.outcome.Load().(func(context.Context) error); ok {
		if err := f(ctx); err != nil {
			return err
		}
	}
	if reply == nil {
		return nil
	}
	var b [8]byte
	_, _ = arith.AddReply{Sum: s.sum}.EncodeCell(b[:])
	return reply.DecodeCell(b[:])
}

func (s *scripted) Send(ctx context.Context, m *rpc.Method, req rpc.Encoder) error {
	return s.Call(ctx, m, req, nil)
}

// over returns a balancer over n scripted instances, "0" and so on.
func over(t testing.TB, n int, o balance.Options) (*balance.Balancer, []*scripted) {
	t.Helper()
	all := make([]*scripted, n)
	b := ok[*balance.Balancer](t)(balance.New(o))
	t.Cleanup(func() { _ = b.Close() })
	for k := range all {
		all[k] = &scripted{sum: int64(k)}
		if err := b.Add(balance.Instance{Name: fmt.Sprint(k), Caller: all[k]}); err != nil {
			t.Fatal(err)
		}
	}
	return b, all
}

// call makes a call of m and returns which instance answered.
func call(ctx context.Context, c rpc.Caller, m *rpc.Method) (int64, error) {
	var reply arith.AddReply
	err := c.Call(ctx, m, arith.AddRequest{A: 1, B: 2}, &reply)
	return reply.Sum, err
}

// serve serves Arith on an engine of its own.
func serve(t testing.TB) (*rpc.Server, *arith.Blocking, *engine.Engine) {
	t.Helper()
	s := ok[*rpc.Server](t)(rpc.NewServer(nil))
	impl := &arith.Blocking{Hang: make(chan struct{})}
	if err := arith.RegisterArith(s, impl); err != nil {
		t.Fatal(err)
	}
	e := ok[*engine.Engine](t)(engine.New(engine.Config{CPU: engine.Unpinned}))
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s, impl, e
}
