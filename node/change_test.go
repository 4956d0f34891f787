package node_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/node"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

func TestAReloadThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	next := postage(dir, "v1", nil)
	var mu sync.Mutex // of next: rings are no synchronization that the race detector knows
	r := run(t, next, func() (config.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		return next, next.Check()
	})
	mu.Lock()
	next = postage(dir, "dies", nil)
	mu.Unlock()
	for range 2 {
		if done, err := r.ops.Reload(soon(t)); !errors.Is(err, wire.StatusUnavailable) || !strings.Contains(err.Error(), "stays as it was") {
			t.Errorf("%v, %v", done.Did, err)
		}
		if s := r.state(); s.Version != "v1" || s.State != "ready" {
			t.Errorf("%+v", s)
		}
	}
}

func TestANodeThatDoesNotRunReloadsNothing(t *testing.T) {
	t.Parallel()
	c := postage(privateDir(t), "v1", nil)
	n, err := node.New(node.Options{Config: c, Load: func() (config.Config, error) { return c, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if did, err := n.Reload(soon(t), "SIGHUP"); err == nil || !strings.Contains(err.Error(), "still starting") {
		t.Errorf("%v, %v", did, err)
	}
}

// A start under way ends with the version, of which no process is left.
func TestAReloadWhileACellStarts(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	connect := func(c *config.Cell) { c.Start = "connect" }
	next := postage(dir, "slow", connect)
	var mu sync.Mutex // of next: rings are no synchronization that the race detector knows
	r := run(t, next, func() (config.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		return next, next.Check()
	})
	called := make(chan error, 1)
	go func() {
		conn, err := rpc.Connect(soon(t), r.dialer("postage"), &rpc.ConnOptions{Wait: rpc.WaitPark, Timeout: patience})
		if err == nil {
			_ = conn.Close()
		}
		called <- err
	}()
	eventually(t, "it starts", func() bool { return r.state().State == "starting" })
	mu.Lock()
	next = postage(dir, "v1", connect)
	mu.Unlock()
	if done, err := r.ops.Reload(soon(t)); err != nil {
		t.Errorf("%v, %v", done.Did, err)
	}
	<-called // who had come for the version before is served or told otherwise
	if p, err := v1.NewPostageClient(r.caller()).Quote(soon(t), v1.Parcel{Weight: 7}); err != nil || p.Amount != 7 {
		t.Errorf("%+v, %v", p, err)
	}
	if s := r.state(); s.Version != "v1" || len(s.Instances) != 1 {
		t.Errorf("%+v", s)
	}
	audit, err := r.ops.Audit(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	started := map[string]int{}
	for _, e := range audit.Entries {
		version, _, _ := strings.Cut(e.Why, "#")
		started[version+" "+e.Did]++
	}
	if started["slow started"] != started["slow stopped"] {
		t.Errorf("a process is left: %v", started)
	}
}

func TestAStopWhileACellStartsStands(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "mute", func(c *config.Cell) { c.ReadyTimeout = config.Duration(100 * time.Millisecond) }), nil)
	eventually(t, "it starts", func() bool { return r.state().State == "starting" })
	if _, err := r.ops.Stop(soon(t), ops.Name{Cell: "postage"}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // longer than it waits to start again
	if s := r.state(); s.State != "asleep" || !strings.Contains(s.Why, "stopped by user") {
		t.Errorf("%+v", s)
	}
}

func TestCallersWaitForTheBackoff(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "dies", func(c *config.Cell) {
		c.BackoffMin, c.BackoffMax = config.Duration(time.Hour), config.Duration(time.Hour)
	}), nil)
	eventually(t, "it waits", func() bool { return r.state().State == "waiting" })
	for range 3 {
		ctx, cancel := context.WithTimeout(soon(t), 50*time.Millisecond)
		if _, err := uds.Dial(ctx, "postage", r.options()); err == nil {
			t.Error("somebody serves")
		}
		cancel()
	}
	starts := func() (n int) {
		logs, err := r.ops.Logs(soon(t), ops.LogRequest{Cell: "postage", Lines: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for line, err := range logs.All() {
			if err != nil {
				t.Fatal(err)
			}
			if line.Source != "node" && strings.Contains(line.Text, "very wrong") { // the node repeats it
				n++
			}
		}
		return n
	}
	if n := starts(); n != 1 {
		t.Errorf("it was started %d times", n)
	}
	if _, err := r.ops.Spawn(soon(t), ops.Name{Cell: "postage"}); !errors.Is(err, wire.StatusUnavailable) {
		t.Errorf("an operator has it started at once: %v", err)
	}
	if n := starts(); n != 2 {
		t.Errorf("it was started %d times", n)
	}
}

// A deployment that is watched doesn't outlive its cell.
func TestACellGoesWhileItIsDeployed(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	next := postage(dir, "v1", nil)
	var mu sync.Mutex // of next: rings are no synchronization that the race detector knows
	r := run(t, next, func() (config.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		return next, next.Check()
	})
	ended := make(chan error, 1)
	go func() {
		_, err := r.ops.Deploy(context.Background(), ops.Deployment{Cell: "postage", Command: command("v2"), Version: "v2", Watch: int64(time.Hour)})
		ended <- err
	}()
	eventually(t, "both are there", func() bool { return r.state().Versions == 2 })
	mu.Lock()
	next.Cells = map[string]config.Cell{}
	mu.Unlock()
	if done, err := r.ops.Reload(soon(t)); err != nil || !strings.Contains(strings.Join(done.Did, "\n"), "postage is gone") {
		t.Errorf("%v, %v", done.Did, err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "stopped for good") {
		t.Errorf("the deployment: %v", err)
	}
	audit, err := r.ops.Audit(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	ends := 0
	for _, e := range audit.Entries {
		if e.Did == "stopped" {
			ends++
		}
	}
	if ends != 2 {
		t.Errorf("%d processes were stopped: %+v", ends, audit.Entries)
	}
}
