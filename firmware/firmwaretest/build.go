package firmwaretest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Need skips a test whose tools this machine lacks; test.sh installs them.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: gcc, make, gcc-arm-none-eabi, qemu-system-arm)", tool)
		}
	}
}

// Root returns the root of the repository.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("firmwaretest: no go.mod above the test's directory")
		}
		dir = up
	}
}

// Build makes a target of firmware/Makefile in a directory of the test's and
// returns its path.
func Build(t testing.TB, target string, variables ...string) string {
	t.Helper()
	Need(t, "make", "arm-none-eabi-gcc")
	dir := t.TempDir()
	target = filepath.Join(dir, target)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := append([]string{"--no-print-directory", "-C", filepath.Join(Root(t), "firmware"), "OUT=" + dir, target}, variables...)
	if out, err := exec.CommandContext(ctx, "make", args...).CombinedOutput(); err != nil {
		t.Fatalf("make %v: %v\n%s", args, err, out)
	}
	return target
}
