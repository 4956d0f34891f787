package capsid_test

import (
	"os/exec"
	"strings"
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

func TestNothingIsOpenInPodman(t *testing.T) {
	b := needPodman(t)
	for name, change := range map[string]func(*capsid.Spec){
		"by default":   func(*capsid.Spec) {},
		"with /proc":   func(s *capsid.Spec) { s.Files.Proc = true },
		"with /usr":    func(s *capsid.Spec) { s.Files.System = true },
		"with a group": func(s *capsid.Spec) { s.Limits.Processes = 64 },
	} {
		t.Run(name, func(t *testing.T) {
			s := base()
			change(&s)
			for _, l := range probe(t, b, s) {
				if strings.HasPrefix(l, "OPEN") && !(s.Files.Proc && strings.Contains(l, "first one's environment")) {
					t.Error(l)
				}
			}
		})
	}
}
