package firmware_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/firmware/firmwaretest"
	"github.com/cell-runtime/cell/internal/leash"
)

// TestReadme does what README.md tells a firmware engineer to do, in an empty
// directory, with this tree in the place of the clone.
func TestReadme(t *testing.T) {
	firmwaretest.Need(t, "make", "arm-none-eabi-gcc", "qemu-system-arm", "bash")
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "## From an empty directory to a first call")
	section, _, ok2 := strings.Cut(section, "\n## ")
	if !ok || !ok2 {
		t.Fatal("README.md has no section about the first call")
	}
	blocks := strings.Split(section, "```sh\n")[1:]
	script := "set -euo pipefail\n"
	for _, block := range blocks[1:] { // the first installs and clones
		commands, _, _ := strings.Cut(block, "\n```")
		script += commands + "\n"
	}
	_, rest, _ := strings.Cut(section, "It prints\n\n```\n")
	want, _, _ := strings.Cut(rest, "```")

	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, filepath.Join(dir, "cell")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killNoted(filepath.Join(dir, "qemu.pid")) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	held, err := leash.Start(cmd)
	if err == nil {
		err = cmd.Wait()
		held.Release()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if want == "" || !strings.Contains(out.String(), want) {
		t.Errorf("the commands print\n%s\nand README.md promises\n%s", out.String(), want)
	}
}

// killNoted ends the process whose number a file holds, if it still runs.
func killNoted(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
