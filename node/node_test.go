package node_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/examples/versions/v2"
	"github.com/cell-runtime/cell/examples/versions/v3"
	"github.com/cell-runtime/cell/node"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

func TestACallStartsACell(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "v1", func(c *config.Cell) {
		c.Start, c.Idle = "connect", config.Duration(500*time.Millisecond)
	}), nil)
	if s := r.state(); s.State != "asleep" || len(s.Instances) != 0 {
		t.Fatalf("before the call: %+v", s)
	}
	conn := r.caller()
	if p, err := v1.NewPostageClient(conn).Quote(soon(t), v1.Parcel{Weight: 7}); err != nil || p.Amount != 7 {
		t.Fatalf("%+v, %v", p, err)
	}
	l, err := uds.Dial(soon(t), "postage", r.options())
	if err != nil {
		t.Fatal(err)
	}
	if l.Info().Kind != "ring" || !l.Info().ZeroCopy {
		t.Errorf("the link is %+v", l.Info())
	}
	_ = l.Close()
	if s := r.state(); s.State != "ready" || len(s.Instances) != 1 || s.Callers == 0 || s.Services[0] != "Postage" {
		t.Errorf("after the call: %+v", s)
	}
	_ = conn.Close()
	eventually(t, "the unused cell sleeps", func() bool { s := r.state(); return s.State == "asleep" && len(s.Instances) == 0 })
	if p, err := v1.NewPostageClient(r.caller()).Quote(soon(t), v1.Parcel{Weight: 8}); err != nil || p.Amount != 8 {
		t.Errorf("a call after that: %+v, %v", p, err)
	}
}

func TestEvolution(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "v1", func(c *config.Cell) { c.VersionIdle = config.Duration(300 * time.Millisecond) }), nil)
	l := r.load(3, func(err error) { t.Errorf("a call failed: %v", err) })
	l.more(t, 200)
	done, err := r.ops.Deploy(soon(t), ops.Deployment{Cell: "postage", Command: command("v2"), Version: "v2", Watch: int64(100 * time.Millisecond)})
	if err != nil || !strings.Contains(strings.Join(done.Did, "\n"), "replaces") {
		t.Fatalf("%v, %v", done.Did, err)
	}
	l.more(t, 200)
	if _, err := r.ops.Restart(soon(t), ops.Name{Cell: "postage"}); err != nil {
		t.Fatal(err)
	}
	l.more(t, 200)
	l.end()
	if s := r.state(); s.Version != "v2" || s.Versions != 1 || len(s.Instances) != 1 {
		t.Fatalf("after an additive change and a restart: %+v", s)
	}
	t.Logf("%d calls, %d failed", l.calls.Load(), l.failed.Load())

	done, err = r.ops.Deploy(soon(t), ops.Deployment{Cell: "postage", Command: command("v3"), Version: "v3"})
	if err != nil || !strings.Contains(strings.Join(done.Did, "\n"), "stays beside") {
		t.Fatalf("%v, %v", done.Did, err)
	}
	for range 2 {
		conn := r.caller()
		if p, err := v1.NewPostageClient(conn).Quote(soon(t), v1.Parcel{Weight: 1}); err != nil || p.Amount != 1 {
			t.Errorf("v1: %+v, %v", p, err)
		}
		if p, err := v2.NewPostageClient(conn).Quote(soon(t), v2.Parcel{Weight: 2}); err != nil || p.Amount != 2 || p.Days != 2 {
			t.Errorf("v2: %+v, %v", p, err)
		}
		if p, err := v3.NewPostageClient(conn).Quote(soon(t), v3.Parcel{Weight: 3}); err != nil || p.Amount != 3 || p.Days != 3 {
			t.Errorf("v3: %+v, %v", p, err)
		}
		_ = conn.Close()
		eventually(t, "the old version sleeps", func() bool {
			all, err := r.ops.Versions(soon(t), ops.Name{Cell: "postage"})
			return err == nil && len(all.Versions) == 2 && all.Versions[0].State == "asleep" && strings.Contains(all.Versions[0].Why, "nobody called") &&
				all.Versions[1].State == "ready" && all.Versions[1].Current
		})
	}
}

func TestADeploymentReturns(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "v1", func(c *config.Cell) { c.MaxRestarts = 1 }), nil)
	for name, kind := range map[string]string{"it dies at once": "dies", "it dies while it is watched": "dies later"} {
		t.Run(name, func(t *testing.T) {
			_, err := r.ops.Deploy(soon(t), ops.Deployment{Cell: "postage", Command: command(kind), Watch: int64(patience)})
			if !errors.Is(err, wire.StatusUnavailable) {
				t.Errorf("%v", err)
			}
			if p, err := v1.NewPostageClient(r.caller()).Quote(soon(t), v1.Parcel{Weight: 7}); err != nil || p.Amount != 7 {
				t.Errorf("callers are not back: %+v, %v", p, err)
			}
			if s := r.state(); s.Version != "v1" || s.Versions != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
	if _, err := r.ops.Deploy(soon(t), ops.Deployment{Cell: "postage", Command: []string{"relative"}}); !errors.Is(err, wire.StatusInvalidArgument) {
		t.Errorf("a relative command: %v", err)
	}
	if _, err := r.ops.Deploy(soon(t), ops.Deployment{Cell: "other"}); !errors.Is(err, wire.StatusNotFound) {
		t.Errorf("another cell: %v", err)
	}
}

// Whatever is killed, a call ends: with a reply or with an error.
func TestCellsAreKilledUnderLoad(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "v1", func(c *config.Cell) { c.Instances = 2 }), nil)
	l := r.load(3, func(err error) {
		var e *rpc.Error
		if !errors.As(err, &e) || errors.Is(err, wire.StatusDeadlineExceeded) || errors.Is(err, wire.StatusInternal) {
			t.Errorf("a call failed oddly: %v", err)
		}
		time.Sleep(time.Millisecond)
	})
	defer l.end()
	for range 8 {
		l.more(t, 50)
		all := r.state().Instances
		if len(all) == 0 {
			continue
		}
		_ = syscall.Kill(int(all[rand.N(len(all))].PID), syscall.SIGKILL)
	}
	eventually(t, "all are there again", func() bool {
		s := r.state()
		return s.State == "ready" && len(s.Instances) == 2
	})
	logs, err := r.ops.Logs(soon(t), ops.LogRequest{Cell: "postage", Lines: 1000})
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for line, err := range logs.All() {
		if err != nil {
			t.Fatal(err)
		}
		text += line.Text + "\n"
	}
	for _, want := range []string{"hello from v1", "crashed: signal 9", "is ready after"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	audit, err := r.ops.Audit(soon(t))
	if err != nil || len(audit.Entries) < 3 {
		t.Errorf("%d entries, %v", len(audit.Entries), err)
	}
}

func TestAHungCellIsReplaced(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "v1", func(c *config.Cell) {
		c.HealthEvery, c.HealthTimeout = config.Duration(50*time.Millisecond), config.Duration(300*time.Millisecond)
	}), nil)
	var before int32
	eventually(t, "it runs", func() bool { // which was taken for hung by then, maybe, on a slow host
		s := r.state()
		if len(s.Instances) != 1 {
			return false
		}
		before = s.Instances[0].PID
		return syscall.Kill(int(before), syscall.SIGSTOP) == nil
	})
	eventually(t, "another runs", func() bool {
		s := r.state()
		return s.State == "ready" && len(s.Instances) == 1 && s.Instances[0].PID != before
	})
	audit, err := r.ops.Audit(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range audit.Entries {
		found = found || e.Did == "ended" && strings.Contains(e.Why, "hung")
	}
	if !found {
		t.Errorf("nobody says that it hung: %+v", audit.Entries)
	}
}

func TestACellThatFailsTooOftenIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "dies", func(c *config.Cell) { c.MaxRestarts = 2 }), nil)
	eventually(t, "it is left alone", func() bool { return r.state().State == "failed" })
	if s := r.state(); !strings.Contains(s.Why, "too often") {
		t.Errorf("%+v", s)
	}
	_, err := uds.Dial(soon(t), "postage", r.options())
	if !errors.Is(err, wire.StatusFailedPrecondition) || !strings.Contains(err.Error(), "cellnode spawn") {
		t.Errorf("a caller hears %v", err)
	}
	if _, err := r.ops.Spawn(soon(t), ops.Name{Cell: "postage"}); !errors.Is(err, wire.StatusUnavailable) {
		t.Errorf("spawn: %v", err)
	}
}

// The end of a process that is asked whether it is ready is seen by the link first.
func TestACellThatDiesWhenItIsAskedIsNotTakenForHung(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "dies when asked", func(c *config.Cell) { c.Start = "connect" }), nil)
	for range 3 {
		_, err := r.ops.Spawn(soon(t), ops.Name{Cell: "postage"})
		if !errors.Is(err, wire.StatusUnavailable) || !strings.Contains(err.Error(), "it ended before it was ready") || !strings.Contains(err.Error(), "with status 5") {
			t.Errorf("%v", err)
		}
	}
}

func TestTheCeiling(t *testing.T) {
	t.Parallel()
	c := postage(privateDir(t), "v1", nil)
	c.MaxCells = 1
	r := run(t, c, nil)
	_, err := r.ops.Deploy(soon(t), ops.Deployment{Cell: "postage", Command: command("v3")})
	if !errors.Is(err, wire.StatusResourceExhausted) || !strings.Contains(err.Error(), "max_cells") {
		t.Errorf("%v", err)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	next := postage(dir, "v1", nil)
	var mu sync.Mutex // of next: rings are no synchronization that the race detector knows
	r := run(t, next, func() (config.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		return next, next.Check()
	})
	for _, step := range []struct {
		name   string
		change func()
		want   string // in what it says
		state  string
	}{
		{"nothing", func() {}, "nothing has changed", "ready"},
		{"a new version", func() { next = postage(dir, "v2", nil) }, "postage has new settings", "ready"},
		{"what can't be", func() { next.Engine.CPU = 0 }, "engine can't be changed without a restart", "ready"},
	} {
		t.Run(step.name, func(t *testing.T) {
			mu.Lock()
			step.change()
			mu.Unlock()
			done, err := r.ops.Reload(soon(t))
			if err != nil || !strings.Contains(strings.Join(done.Did, "\n"), step.want) {
				t.Errorf("%v, %v", done.Did, err)
			}
			if s := r.state(); s.State != step.state {
				t.Errorf("%+v", s)
			}
		})
	}
	good := next
	mu.Lock()
	next.MaxCells = -1
	mu.Unlock()
	if _, err := r.ops.Reload(soon(t)); !errors.Is(err, wire.StatusInvalidArgument) {
		t.Errorf("a wrong configuration: %v", err)
	}
	if s := r.state(); s.Version != "v2" {
		t.Errorf("%+v", s)
	}
	mu.Lock()
	next = good
	mu.Unlock()
	mu.Lock()
	next.Cells = map[string]config.Cell{}
	mu.Unlock()
	if done, err := r.ops.Reload(soon(t)); err != nil || !strings.Contains(strings.Join(done.Did, "\n"), "postage is gone") {
		t.Errorf("%v, %v", done.Did, err)
	}
	if listening(filepath.Join(dir, "postage.sock")) {
		t.Error("the cell can still be called")
	}
}

func TestStopAndSpawn(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "v1", nil), nil)
	if _, err := r.ops.Stop(soon(t), ops.Name{Cell: "postage"}); err != nil {
		t.Fatal(err)
	}
	if s := r.state(); s.State != "asleep" || len(s.Instances) != 0 || !strings.Contains(s.Why, "stopped by user") {
		t.Errorf("%+v", s)
	}
	if done, err := r.ops.Spawn(soon(t), ops.Name{Cell: "postage"}); err != nil || !strings.Contains(done.Did[0], "is ready") {
		t.Errorf("%v, %v", done, err)
	}
	if done, err := r.ops.Spawn(soon(t), ops.Name{Cell: "postage"}); err != nil || !strings.Contains(done.Did[0], "runs already") {
		t.Errorf("%v, %v", done, err)
	}
}

func TestOneNodeADirectory(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "v1", nil), nil)
	n, err := node.New(node.Options{Config: postage(r.dir, "v1", nil)})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(context.Background()); !errors.Is(err, uds.ErrInUse) {
		t.Errorf("%v", err)
	}
}
