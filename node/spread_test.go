package node_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/rpc"
)

// telltale answers with the number of its process.
type telltale struct{}

func (telltale) Quote(context.Context, v1.Parcel) (v1.Price, error) {
	return v1.Price{Amount: int64(os.Getpid())}, nil
}

// Callers of a cell of several versions, each of several processes, are led to all
// of those, also after one was replaced.
func TestAFrontLeadsToAllProcesses(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "telltale", func(c *config.Cell) { c.Instances = 2 }), nil)
	done, err := r.ops.Deploy(soon(t), ops.Deployment{Cell: "postage", Command: command("v3"), Version: "v3"})
	if err != nil || !strings.Contains(strings.Join(done.Did, "\n"), "stays beside") {
		t.Fatalf("%v, %v", done.Did, err)
	}
	conns := []*rpc.Conn{r.caller(), r.caller(), r.caller(), r.caller()}
	answer := func() map[int]bool {
		seen := map[int]bool{}
		for _, conn := range conns {
			if pid, err := quoteV1(conn, 1); err == nil {
				seen[int(pid)] = true
			}
		}
		return seen
	}
	eventually(t, "two processes answer", func() bool { return len(answer()) == 2 })
	for dead := range answer() {
		if err := syscall.Kill(dead, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "two processes answer, one of them new", func() bool { seen := answer(); return len(seen) == 2 && !seen[dead] })
		break
	}
}
