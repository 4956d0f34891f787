package node_test

import (
	"errors"
	"testing"

	"github.com/cell-runtime/cell/node"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/network"
)

func TestANodeThatMustBeAmongOthersSaysWhyItIsNot(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.RuntimeDir = privateDir(t)
	c.Network.Mode, c.Network.Identity = "on", t.TempDir()
	n, err := node.New(node.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(soon(t)); !errors.Is(err, network.ErrAlone) {
		t.Errorf("the node ended with %v", err)
	}
}
