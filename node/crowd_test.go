package node_test

import (
	"strings"
	"testing"

	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
)

// A cell that calls whom nobody serves holds few of the node's descriptors.
func TestConnectionsThatAreBeingLedAreBounded(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "crowd", func(c *config.Cell) { c.Start = "connect" }), nil)
	go func() {
		_, _ = r.ops.Spawn(t.Context(), ops.Name{Cell: "postage"})
	}()
	eventually(t, "the crowd is refused", func() bool {
		logs, err := r.ops.Logs(soon(t), ops.LogRequest{Cell: "postage", Lines: 1000})
		if err != nil {
			t.Fatal(err)
		}
		defer logs.Close()
		found := false
		for line, err := range logs.All() {
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.HasPrefix(line.Text, "refused ")
		}
		return found
	})
}
