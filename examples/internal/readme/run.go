package readme

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/internal/leash"
)

// patience bounds a document's commands and what they leave running.
const patience = 8 * time.Minute

// Run runs all blocks of a Markdown file in one bash in dir, and fails the test
// if a command fails, if something that the document shows is not printed, or
// if anything is left in the end: a process, a socket, a temporary file.
func Run(t *testing.T, file, dir string, env ...string) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("needs bash")
	}
	blocks, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no commands", file)
	}
	temp := shortDir(t)
	run, tmp := filepath.Join(temp, "run"), filepath.Join(temp, "tmp")
	if err := errors.Join(os.Mkdir(run, 0o700), os.Mkdir(tmp, 0o700)); err != nil {
		t.Fatal(err)
	}
	env = append(append(os.Environ(), "CELL_RUNTIME_DIR="+run, "TMPDIR="+tmp, "GOFLAGS=", "GOWORK="), env...)
	outputs := paste(t, file, blocks, dir, env)
	for i, b := range blocks {
		if line, found := missing(outputs[i], b.Output); found {
			t.Errorf("%s:%d: not printed: %s\nbut this was:\n%s", file, b.Line, line, outputs[i])
		}
	}
	for _, d := range []string{run, tmp} {
		if left, _ := filepath.Glob(filepath.Join(d, "*")); len(left) > 0 {
			t.Errorf("%s: left behind: %v", file, left)
		}
	}
}

// shortDir makes a directory whose path leaves room for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "ex")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return d
}

// marker stands on a line of its own between the outputs of two blocks.
const marker = "--- next block ---"

// paste runs the blocks and returns what each printed.
func paste(t *testing.T, file string, blocks []Block, dir string, env []string) []string {
	t.Helper()
	var script strings.Builder
	script.WriteString("set -e -o pipefail\n")
	for _, b := range blocks {
		fmt.Fprintf(&script, "%s\necho '%s'\n", b.Script, marker)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // all that it starts is of its session
	cmd.WaitDelay = 5 * time.Second                      // for whoever keeps the output open
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	held, err := leash.Start(cmd) // nothing of it outlives this test
	if err == nil {
		err = cmd.Wait()
		held.Release()
	}
	if cmd.Process != nil {
		for _, left := range survivors(cmd.Process.Pid) {
			t.Errorf("%s: left running: %s", file, left)
		}
	}
	outputs := strings.Split(out.String(), marker+"\n")
	if err != nil || len(outputs) != len(blocks)+1 {
		at := blocks[min(len(outputs), len(blocks))-1]
		t.Fatalf("%s:%d: %v\n%s\nprinted:\n%s", file, at.Line, err, at.Script, outputs[len(outputs)-1])
	}
	return outputs
}

// survivors returns the command lines of the processes of a session that are
// still there after a while, and ends them.
func survivors(session int) (left []string) {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		pids := members(session)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().Before(deadline) {
			continue
		}
		for _, pid := range pids {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			left = append(left, strings.ReplaceAll(string(line), "\x00", " "))
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return left
	}
}

// members returns the living processes of a session.
func members(session int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it ended
		}
		// pid (name) state ppid pgrp session: the name may hold anything.
		after := string(text[bytes.LastIndexByte(text, ')')+1:])
		fields := strings.Fields(after)
		if len(fields) < 4 || fields[0] == "Z" || fields[3] != strconv.Itoa(session) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
