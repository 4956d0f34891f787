package raft_test

import (
	"testing"

	"github.com/cell-runtime/cell/examples/internal/readme"
)

func TestReadme(t *testing.T) { readme.Run(t, "README.md", "../..") }
