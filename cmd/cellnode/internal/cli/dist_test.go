package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const dist = "../../../../dist"

// readDist reads a file of dist.
func readDist(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dist, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheConfigurationOfPackages(t *testing.T) {
	commented := readDist(t, "cellnode.toml")
	file := filepath.Join(t.TempDir(), "c.toml")
	uncommented := regexp.MustCompile(`(?m)^# (\[|[a-z]+ = )`).ReplaceAllString(commented, "$1")
	for name, text := range map[string]string{"as it is": commented, "with what it suggests": uncommented} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if code, out, complaints := run(t, "config", "check", "-c", file); code != 0 {
				t.Errorf("%d: %s%s", code, out, complaints)
			}
			if code, out, _ := run(t, "config", "print", "-c", file, "-o", "json"); code != 0 || !json.Valid([]byte(out)) {
				t.Errorf("%d: %s", code, out)
			}
		})
	}
}

// The files that a package takes from the repository are there.
func TestPackagesAreWhole(t *testing.T) {
	for _, m := range regexp.MustCompile(`src: (dist/\S+|LICENSE)`).FindAllStringSubmatch(readDist(t, "nfpm.yaml"), -1) {
		if _, err := os.Stat(filepath.Join(dist, "..", m[1])); err != nil {
			t.Error(err)
		}
	}
}

// Every metric that the dashboard draws exists.
func TestTheDashboard(t *testing.T) {
	text := readDist(t, "grafana/cellnode.json")
	if !json.Valid([]byte(text)) {
		t.Fatal("no JSON")
	}
	known := ""
	for _, f := range []string{"node/gauges.go", "rpc/counts.go", "rpc/conn_metrics.go", "engine/metrics.go"} {
		b, err := os.ReadFile(filepath.Join(dist, "..", f))
		if err != nil {
			t.Fatal(err)
		}
		known += string(b)
	}
	names := regexp.MustCompile(`cell_[a-z_]+`).FindAllString(text, -1)
	for _, name := range names {
		if !strings.Contains(known, `"`+strings.TrimSuffix(name, "_bucket")+`"`) {
			t.Errorf("nothing is called %s", name)
		}
	}
	if len(names) < 10 {
		t.Errorf("only %d", len(names))
	}
}

func TestTheServiceUnit(t *testing.T) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	self, err := os.Executable() // any program that exists
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "cellnode.service")
	text := strings.ReplaceAll(readDist(t, "systemd/cellnode.service"), "/usr/bin/cellnode", self)
	text = regexp.MustCompile(`(?m)^Documentation=.*$`).ReplaceAllString(text, "") // pages that aren't installed here
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), verify, "verify", unit).CombinedOutput()
	if strings.Contains(string(out), "Unknown") || strings.Contains(string(out), "cellnode.service:") && err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
