package capsid_test

import (
	"os/exec"
	"testing"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/capsid/capsidtest"
)

func needPodman(t testing.TB) capsid.Backend {
	t.Helper()
	if raceEnabled {
		t.Skip("cells that are built with the race detector need more of the host than a capsid gives")
	}
	needRoot(t)
	if testing.Short() {
		t.Skip("each cell takes a second")
	}
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("podman is not installed; test.sh --soak installs it")
	}
	return open(t, "podman")
}

func TestPodmanConforms(t *testing.T) {
	capsidtest.Run(t, capsidtest.Harness{Backend: needPodman(t), Base: base(), Groups: true})
}

func TestNothingIsOpenInPodman(t *testing.T) { nothingIsOpen(t, needPodman(t)) }
