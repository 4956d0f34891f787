package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds what a test waits for on a busy machine.
const patience = time.Minute

// outcome is what a run of the program left.
type outcome struct {
	status         int
	stdout, stderr string
}

// program prepares a run with a directory for temporary files of its own,
// which must be empty afterwards.
func program(t *testing.T, args ...string) (cmd *exec.Cmd, finish func() outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	temp, err := os.MkdirTemp("", "cb") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) })
	var out, complaints bytes.Buffer
	cmd = exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), mainEnv+"=1", "TMPDIR="+temp)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	return cmd, func() outcome {
		t.Helper()
		if err := cmd.Wait(); ctx.Err() != nil {
			t.Fatalf("cellbench %v did not end: %v\n%s%s", args, err, out.String(), complaints.String())
		}
		if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
			t.Errorf("cellbench %v left %v behind", args, left)
		}
		return outcome{cmd.ProcessState.ExitCode(), out.String(), complaints.String()}
	}
}

func cellbench(t *testing.T, args ...string) outcome {
	t.Helper()
	cmd, finish := program(t, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return finish()
}

// measuring runs a measurement that lasts for d, and longer ones where the host
// stalled for as long as the first one took.
func measuring(t *testing.T, d time.Duration, args ...string) outcome {
	t.Helper()
	for ; ; d *= 4 {
		o := cellbench(t, append(args, "--duration", d.String())...)
		if d > 5*time.Second || !strings.Contains(o.stderr, "lengthen --duration") {
			return o
		}
	}
}
