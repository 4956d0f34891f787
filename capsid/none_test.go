package capsid_test

import (
	"errors"
	"os"
	"testing"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/capsid/capsidtest"
	"github.com/cell-runtime/cell/sched"
)

func TestMain(m *testing.M) {
	capsidtest.Main()
	os.Exit(m.Run())
}

func open(t testing.TB, name string) capsid.Backend {
	t.Helper()
	b, err := capsid.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNoneConforms(t *testing.T) {
	capsidtest.Run(t, capsidtest.Harness{Backend: open(t, "none"), Groups: os.Geteuid() == 0})
}

func TestNoneRefusesWallsThatItDoesNotHave(t *testing.T) {
	for name, s := range map[string]capsid.Spec{
		"files":  {Files: capsid.Files{ReadOnly: []string{"/usr"}}},
		"proc":   {Files: capsid.Files{Proc: true}},
		"strict": {Seccomp: "strict"},
	} {
		s.Name, s.Command = "x", capsidtest.Command("exit", "0")
		if _, err := open(t, "none").Start(t.Context(), s); !errors.Is(err, capsid.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoneWarnsOfItself(t *testing.T) {
	if got := sched.Worst(open(t, "none").Probe(t.Context())); got != sched.Warning {
		t.Errorf("worst finding: %v", got)
	}
}

func TestThereIsNoDefaultBackend(t *testing.T) {
	for _, name := range []string{"", "default", "docker"} {
		if _, err := capsid.Open(name); !errors.Is(err, capsid.ErrSpec) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
