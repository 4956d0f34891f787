package node_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/wire"
)

// Who starts a cell that ends at once is told what it wrote, and who looks at it
// later is not told the same thing twice.
func TestACellThatDoesNotStartSaysWhy(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "dies", func(c *config.Cell) {
		c.Start, c.BackoffMin, c.BackoffMax = "connect", config.Duration(time.Hour), config.Duration(time.Hour)
	}), nil)
	_, err := r.ops.Spawn(soon(t), ops.Name{Cell: "postage"})
	if !errors.Is(err, wire.StatusUnavailable) || !strings.Contains(err.Error(), "its last words: something is very wrong") {
		t.Errorf("spawn: %v", err)
	}
	eventually(t, "it waits", func() bool { return r.state().State == "waiting" })
	why := r.state().Why
	if strings.Count(why, "postage") > 1 || strings.Count(why, "exited") != 1 || !strings.Contains(why, "with status 3") {
		t.Errorf("why it does not run: %s", why)
	}
}
