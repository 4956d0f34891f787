package node_test

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cell-runtime/cell/node"
	"github.com/cell-runtime/cell/node/config"
)

func TestOtherUsersNeedADirectoryThatLetsThemIn(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	c := postage(dir, "v1", func(c *config.Cell) { c.Users = []uint32{54321} })
	n, err := node.New(node.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), "chmod 711") {
		t.Errorf("%v", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	next := c
	var mu sync.Mutex // of next: rings are no synchronization that the race detector knows
	r := run(t, c, func() (config.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		return next, next.Check()
	})
	mu.Lock()
	next = postage(dir, "v1", nil)
	mu.Unlock()
	if done, err := r.ops.Reload(soon(t)); err != nil || !strings.Contains(strings.Join(done.Did, "\n"), "cells.postage.users, from or to nobody, can't be changed without a restart") {
		t.Errorf("%v, %v", done.Did, err)
	}
}
