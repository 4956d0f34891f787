package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/perf"
)

// native is the C side of the measurements: the same ring, and bare copies,
// built by gcc when it is there (perf/limit).
type native struct {
	program string
}

// buildNative compiles the C programs into dir. Without gcc there are none.
func buildNative(ctx context.Context, dir string) (*native, error) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		return nil, fmt.Errorf("no gcc (%w): streams are shown without their limit in C; install gcc", err)
	}
	src := filepath.Join(dir, "c")
	if err := os.CopyFS(src, perf.Source); err != nil {
		return nil, err
	}
	args := append([]string{"-O3", "-std=c11", "-o", filepath.Join(dir, "limit")}, perf.Units...)
	cmd := wholeGroup(exec.CommandContext(ctx, gcc, append(args, "-lm", "-pthread")...))
	cmd.Dir = filepath.Join(src, "limit")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // what an interrupted gcc leaves goes with dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("gcc could not build perf/limit: %w\n%s", err, out)
	}
	return &native{filepath.Join(dir, "limit")}, nil
}

// UseNative builds the C programs. If that fails it returns why, and streams
// go without that limit.
func (b *Bench) UseNative(ctx context.Context) error {
	n, err := buildNative(ctx, b.dir)
	if err != nil {
		b.whyNo = "the equal ring in C could not be built; it needs gcc"
		return err
	}
	b.native = n
	return nil
}

// wholeGroup makes the end of cmd's context reach what cmd has started, too:
// gcc runs a compiler, the limit a second process that spins.
func wholeGroup(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// bulk is the payload from which on a stream is compared to the bare copy
// instead of to the ring in C: there, the copy is all that counts.
const bulk = 1000

// stream runs the C counterpart of s.
func (n *native) stream(ctx context.Context, s *Spec, length time.Duration) (report.Sample, error) {
	what := "stream"
	if s.Payload() >= bulk {
		what = "copy"
	}
	args := append([]string{what, "--batch", strconv.Itoa(s.Batch)}, "--size", strconv.Itoa(s.Size), "--ring", strconv.Itoa(s.Ring),
		"--seconds", strconv.FormatFloat(length.Seconds(), 'f', 3, 64),
		"--cpus", fmt.Sprintf("%d,%d", s.CPUs[0], s.CPUs[1]))
	out, err := wholeGroup(exec.CommandContext(ctx, n.program, args...)).Output()
	if err != nil {
		said := ""
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			said = ": " + strings.TrimSpace(string(exit.Stderr))
		}
		return report.Sample{}, fmt.Errorf("%s %v: %w%s", n.program, args, err, said)
	}
	var r struct {
		Count    uint64  `json:"count"`
		Seconds  float64 `json:"seconds"`
		BytesPer float64 `json:"bytes_per_s"`
		MsgsPer  float64 `json:"msgs_per_s"`
	}
	if err := json.Unmarshal(out, &r); err != nil || r.Count == 0 || r.MsgsPer <= 0 {
		return report.Sample{}, fmt.Errorf("%s %v: unreadable result %q: %v", n.program, args, out, err)
	}
	return report.Sample{Count: r.Count, Bytes: r.Count * uint64(s.Payload()),
		Elapsed: time.Duration(float64(r.Count) / r.MsgsPer * 1e9)}, nil
}

// setting names what stream measured.
func (n *native) setting(s *Spec) report.Setting {
	r := s.setting()
	r.Kind, r.Link, r.Wait = report.KindLimit, "c-ring", "spin"
	if s.Payload() >= bulk {
		r.Link = "c-copy"
	}
	return r
}
