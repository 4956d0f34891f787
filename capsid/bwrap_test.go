package capsid_test

import (
	"debug/elf"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/capsid/capsidtest"
)

func needBwrap(t testing.TB) capsid.Backend {
	t.Helper()
	if raceEnabled {
		t.Skip("cells that are built with the race detector need more of the host than a capsid gives")
	}
	if _, err := exec.LookPath("bwrap"); err != nil {
		t.Skip("bubblewrap is not installed")
	}
	return open(t, "bwrap")
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func TestBwrapConforms(t *testing.T) {
	capsidtest.Run(t, capsidtest.Harness{Backend: needBwrap(t), Base: base(), Groups: os.Geteuid() == 0})
}

// base has what a test binary needs: nothing, unless it was linked dynamically,
// as with cgo for the race detector.
func base() capsid.Spec {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	dynamic := slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	return capsid.Spec{Files: capsid.Files{System: dynamic}}
}
