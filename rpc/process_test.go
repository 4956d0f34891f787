package rpc_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/uds"
)

// Tests that need a second process run this binary again with childEnv set.
const childEnv = "CELL_RPC_TEST_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		child(strings.Fields(role))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is the other process of a test: a server.
func child(args []string) {
	time.AfterFunc(5*time.Minute, func() { os.Exit(3) }) // never outlive a test for long
	switch args[0] {
	case "serve":
		serveChild(args[1], args[2], args[3])
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(2)
	}
	return v
}

// Limits of a child's server.
const (
	childWorkers    = 2
	childQueue      = 3
	childMaxRequest = 1 << 20
)

// serveChild serves Arith as "test" in dir until it is killed. kind is inline
// or blocking; a cpu of 0 or above makes the engine spin there.
func serveChild(dir, kind, cpu string) {
	o := &rpc.ServerOptions{Operations: func(link.Peer, rpc.Operation) error { return nil }}
	o.Metrics = must(metrics.Anonymous(metrics.Options{}))
	if kind == "blocking" {
		o.Workers, o.Queue, o.MaxRequest = childWorkers, childQueue, childMaxRequest
	}
	s := must(rpc.NewServer(o))
	if kind == "inline" {
		must(0, arith.RegisterArithViews(s, (&arith.Views{}).ArithViews()))
	} else {
		must(0, arith.RegisterArith(s, &arith.Blocking{Hang: make(chan struct{})}))
	}
	cfg := engine.Config{CPU: must(strconv.Atoi(cpu)), Batch: 64}
	if cfg.CPU >= 0 {
		cfg.Idle = engine.IdleSpin
	}
	e := must(engine.New(cfg))
	must(0, e.Start(context.Background()))
	l := must(uds.Listen("test", &uds.Options{Dir: dir, RingSize: 64 << 10}))
	fmt.Println("listening")
	must(0, s.Accept(context.Background(), e, func(ctx context.Context) (link.Link, error) {
		c, err := l.Accept(ctx)
		if err != nil {
			return nil, err
		}
		return c, nil
	}))
}

// kid is this binary, run again in another role.
type kid struct {
	cmd *exec.Cmd
	out *os.File // its stdout
}

// spawn starts a child, which says on its stdout what it has reached. It is
// killed at the test's end at the latest.
func spawn(t testing.TB, role ...any) *kid {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	k := &kid{cmd: exec.Command("/proc/self/exe"), out: r}
	k.cmd.Env = append(os.Environ(), childEnv+"="+strings.TrimSuffix(fmt.Sprintln(role...), "\n"))
	k.cmd.Stdout, k.cmd.Stderr = w, os.Stderr
	err = k.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	t.Cleanup(k.kill)
	return k
}

// said reads one line of the child.
func (k *kid) said(t testing.TB) string {
	t.Helper()
	_ = k.out.SetReadDeadline(time.Now().Add(patience))
	var line []byte
	for b := make([]byte, 1); ; {
		if n, err := k.out.Read(b); n == 0 || err != nil {
			t.Fatalf("the child said %q and then nothing: %v", line, err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

// kill ends the child as kill -9 does and reaps it.
func (k *kid) kill() {
	if k.cmd.ProcessState == nil {
		_ = k.cmd.Process.Kill()
		_ = k.cmd.Wait()
		k.out.Close()
	}
}
