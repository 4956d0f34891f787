package firmware_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/firmware/firmwaretest"
)

var (
	violated  = regexp.MustCompile(`(?m)^.*: misra-c2012-(\d+\.\d+)$`)
	deviation = regexp.MustCompile(`(?m)^\| (\d+\.\d+) \|`)
)

// TestMISRA has cppcheck look for violations of MISRA C:2012. Each rule that is
// violated must be among the deviations of docs/FIRMWARE.md, with the reason,
// and each of those must still be one.
func TestMISRA(t *testing.T) {
	firmwaretest.Need(t, "cppcheck")
	doc, err := os.ReadFile("../docs/FIRMWARE.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range deviation.FindAllStringSubmatch(string(doc), -1) {
		known[m[1]] = true
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(t.TempDir(), "all.c")
	if err := os.WriteFile(source, []byte("#include \"cell_can.h\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "cppcheck", "--addon=misra", "--std=c99", "--quiet", "--template={file}:{line}: {id}", "-I", here, source)
	cmd.Dir = filepath.Dir(source) // where cppcheck leaves its dumps
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cppcheck: %v\n%s", err, out)
	}
	seen := map[string]bool{}
	for _, m := range violated.FindAllStringSubmatch(string(out), -1) {
		seen[m[1]] = true
		if !known[m[1]] {
			t.Errorf("%s\nis no deviation of docs/FIRMWARE.md: mend it, or give the reason there", m[0])
		}
	}
	for rule := range known {
		if !seen[rule] {
			t.Errorf("docs/FIRMWARE.md lists rule %s, which nothing violates any more", rule)
		}
	}
	if len(seen) == 0 || strings.Contains(string(out), "Bailing out") {
		t.Errorf("cppcheck's addon did not run: %s", out)
	}
}
