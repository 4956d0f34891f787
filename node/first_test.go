package node_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/rpc"
)

// A caller of a cell that does not run is answered, at once where a process is
// warm. With CELL_SOAK=1 it is an ordinary program, 200 times, and its times are
// logged: from dialing to the reply.
func TestFirstCalls(t *testing.T) {
	rounds, serves := 1, command("v1")
	if os.Getenv("CELL_SOAK") != "" {
		rounds = 200
		program := filepath.Join(t.TempDir(), "postage")
		if said, err := exec.Command("go", "build", "-o", program, "../examples/versions/postage").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		serves = []string{program, "serve", "v1"}
	}
	for name, tc := range map[string]struct {
		capsid string
		warm   int
	}{
		"warm, without walls": {"none", 1},
		"warm, in bwrap":      {"bwrap", 1},
		"cold, without walls": {"none", 0},
		"cold, in bwrap":      {"bwrap", 0},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(tc.capsid); err != nil && tc.capsid != "none" {
				t.Skip(tc.capsid + " is not installed")
			}
			r := run(t, postage(privateDir(t), "v1", func(c *config.Cell) {
				c.Command, c.Capsid, c.Start, c.Warm = serves, tc.capsid, "connect", tc.warm
				c.Files.System = tc.capsid != "none"
			}), nil)
			times := make([]time.Duration, rounds)
			for i := range times {
				times[i] = r.firstCall(tc.warm > 0)
			}
			slices.Sort(times)
			at := func(q float64) time.Duration { return times[int(q*float64(len(times)-1))] }
			t.Logf("%s: %d first calls, p50 %v, p90 %v, p99 %v, most %v", name, rounds, at(0.5), at(0.9), at(0.99), at(1))
		})
	}
}

// firstCall calls a process that nobody has called, and stops it.
func (r rig) firstCall(warm bool) time.Duration {
	r.t.Helper()
	if warm {
		if _, err := r.ops.Spawn(soon(r.t), ops.Name{Cell: "postage"}); err != nil {
			r.t.Fatal(err)
		}
	}
	began := time.Now()
	conn, err := rpc.Connect(soon(r.t), r.dialer("postage"), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := v1.NewPostageClient(conn).Quote(soon(r.t), v1.Parcel{Weight: 7})
	took := time.Since(began)
	if err != nil || p.Amount == 0 {
		r.t.Errorf("%+v, %v", p, err)
	}
	_ = conn.Close()
	if _, err := r.ops.Stop(soon(r.t), ops.Name{Cell: "postage"}); err != nil {
		r.t.Fatal(err)
	}
	return took
}
