// Package examples_test runs the quick start.
package examples_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/examples/internal/readme"
)

const quickStart = "../docs/QUICKSTART.md"

// TestQuickStart pastes the document's commands in an empty folder, with CELL
// set to this checkout.
func TestQuickStart(t *testing.T) {
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	readme.Run(t, quickStart, t.TempDir(), "CELL="+checkout, "CELL_RUNTIME_DIR="+t.TempDir())
}

// What the user has to write is short, and said to be.
func TestQuickStartIsShort(t *testing.T) {
	blocks, err := readme.Read(quickStart)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		_, program, found := strings.Cut(b.Script, "<<'END'\n")
		if !found {
			continue
		}
		program, _, _ = strings.Cut(program, "\nEND\n")
		lines := 0
		for line := range strings.SplitSeq(program, "\n") {
			if strings.TrimSpace(line) != "" {
				lines++
			}
		}
		if lines > 40 {
			t.Errorf("%s:%d: %d lines, more than 40", quickStart, b.Line, lines)
		}
		return
	}
	t.Error("there is no program")
}
