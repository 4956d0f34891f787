package node_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/node/config"
)

// What a cell behind walls counts is shown like that of any other, in memory that
// its node has lent it.
func TestACellBehindWallsShowsItsMetrics(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bwrap"); err != nil {
		t.Skip("bubblewrap is not installed")
	}
	r := run(t, postage(privateDir(t), "shows", func(c *config.Cell) { c.Capsid, c.Files.System = "bwrap", true }), nil)
	path := filepath.Join(r.dir, "postage.1.metrics")
	if to, err := os.Readlink(path); err != nil {
		t.Fatalf("its metrics lead to %q: %v", to, err)
	}
	shown, err := metrics.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer shown.Close()
	if pid := int(r.state().Instances[0].PID); shown.PID() != pid || !shown.WriterAlive() {
		t.Errorf("they name process %d, alive %v; it is %d", shown.PID(), shown.WriterAlive(), pid)
	}
	for range 3 {
		if _, err := quoteV1(r.caller(), 7); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the calls are counted", func() bool {
		s, err := shown.Snapshot()
		return err == nil && slices.ContainsFunc(s.Samples, func(s metrics.Sample) bool {
			return s.Name == "cell_rpc_server_calls" && s.Counter >= 3
		})
	})
}
