package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/perf/peers/internal/adapter"
	"github.com/cell-runtime/cell/perf/peers/internal/measure"
	"github.com/cell-runtime/cell/perf/peers/internal/report"
)

// mainEnv makes this test binary the program itself.
const mainEnv = "PEERS_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" || len(os.Args) > 1 && (os.Args[1] == measure.ServeArg || os.Args[1] == measure.CallArg) {
		main()
	}
	os.Exit(m.Run())
}

type outcome struct {
	status         int
	stdout, stderr string
}

// program prepares a run with a directory for temporary files of its own, which
// must be empty afterwards.
func program(t *testing.T, args ...string) (cmd *exec.Cmd, finish func() outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	temp, err := os.MkdirTemp("", "pp")
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
			t.Fatalf("%v did not end: %v\n%s%s", args, err, out.String(), complaints.String())
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			left, _ := filepath.Glob(filepath.Join(temp, "*"))
			if len(left) == 0 {
				break
			}
			// After SIGKILL the children clean up.
			if time.Now().After(deadline) {
				t.Errorf("%v left %v behind", args, left)
				break
			}
		}
		return outcome{cmd.ProcessState.ExitCode(), out.String(), complaints.String()}
	}
}

// temporary is where a program that was prepared puts temporary files.
func temporary(cmd *exec.Cmd) string {
	return strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "TMPDIR=")
}

func peers(t *testing.T, args ...string) outcome {
	t.Helper()
	cmd, finish := program(t, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return finish()
}

func TestWrongUsage(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"rtt", `unexpected argument "rtt"`},
		{"--bogus", "not defined: -bogus"},
		{"--only pigeon", `no peer "pigeon"`},
		{"--only unix,unix", "or twice"},
		{"--works rtt,smoke", `"smoke" is unknown`},
		{"--works rtt,rtt", "there twice"},
		{"--placement left", `"left" is unknown`},
		{"--sizes 8", "from 16 to 16 MiB"},
		{"--sizes 17M", "from 16 to 16 MiB"},
		{"--sizes 64Q", "such as 64,1K,1M"},
		{"--sizes 64,", "such as 64,1K,1M"},
		{"--sizes 1K,1024", "there twice"},
		{"--sizes 99999999999999999999", "from 16"},
		{"--duration 0s", "from 1ms"},
		{"--duration 2h", "from 1ms"},
		{"--duration soon", "invalid value"},
		{"--warmup -1s", "from 0"},
		{"--budget -1s", "--budget"},
		{"--rounds 0", "from 1 to"},
		{"--cpus 0", "two different CPU numbers"},
		{"--cpus 0,0", "two different CPU numbers"},
		{"--cpus 0,100000", "two CPUs are needed"},
		{"--resume --out -", "--resume"},
		{"--budget 1s --out -", "--budget"},
	} {
		t.Run(c.args, func(t *testing.T) {
			o := peers(t, append([]string{"--out", t.TempDir()}, strings.Fields(c.args)...)...)
			if o.status != exitUsage || o.stdout != "" || !strings.Contains(o.stderr, c.says) {
				t.Errorf("status %d, want %d with %q\n%s%s", o.status, exitUsage, c.says, o.stdout, o.stderr)
			}
			if strings.Contains(o.stderr, "goroutine") || !strings.Contains(o.stderr, "--help") {
				t.Errorf("a refusal says where help is:\n%s", o.stderr)
			}
		})
	}
	if o := peers(t, "--out", ""); o.status != exitUsage {
		t.Errorf("--out of nothing: status %d", o.status)
	}
}

func TestHelpAndList(t *testing.T) {
	o := peers(t, "--help")
	for _, f := range []string{"--resume", "--budget", "--only", "--quick", "Exit status"} {
		if o.status != exitOK || !strings.Contains(o.stdout, f) || o.stderr != "" {
			t.Errorf("status %d, no %s\n%s%s", o.status, f, o.stdout, o.stderr)
		}
	}
	o = peers(t, "--list")
	for _, a := range adapter.All() {
		if o.status != exitOK || !strings.Contains(o.stdout, a.Name) {
			t.Errorf("status %d, no %s\n%s", o.status, a.Name, o.stdout)
		}
	}
}

func needTwoCPUs(t *testing.T) {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs")
	}
}

func read(t *testing.T, dir string) *report.Report {
	t.Helper()
	r, err := report.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAllPeersInOneRun(t *testing.T) {
	needTwoCPUs(t)
	dir := filepath.Join(t.TempDir(), "results")
	o := peers(t, "--quick", "--duration", "5ms", "--warmup", "2ms", "--sizes", "64", "--placement", "pinned,free", "--out", dir)
	if strings.Contains(o.stderr, "lengthen --duration") { // a slow host
		o = peers(t, "--quick", "--duration", "300ms", "--sizes", "64", "--placement", "pinned,free", "--out", dir)
	}
	if o.status != exitOK || o.stdout != "" {
		t.Fatalf("status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	r := read(t, dir)
	page, err := os.ReadFile(filepath.Join(dir, report.TableFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range adapter.All() {
		for _, w := range a.Works {
			if !slices.ContainsFunc(r.Samples, func(s report.Sample) bool { return s.Peer == a.Name && s.Work == string(w) }) {
				t.Errorf("%s was not measured at %s", a.Name, w)
			}
		}
		if !strings.Contains(string(page), "| `"+a.Name+"` | ") {
			t.Errorf("%s is not on the page", a.Name)
		}
	}
}

func TestQuickWritesNoFile(t *testing.T) {
	needTwoCPUs(t)
	cmd, finish := program(t, "--quick", "--duration", "20ms", "--only", "cache-line,unix")
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if o := finish(); o.status != exitOK || !strings.Contains(o.stdout, "| `unix` | ") {
		t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if left, _ := os.ReadDir(cmd.Dir); len(left) > 0 {
		t.Errorf("wrote %v", left)
	}
}

func TestRoundsAreResumed(t *testing.T) {
	needTwoCPUs(t)
	dir := t.TempDir()
	args := []string{"--only", "unix,net/rpc", "--works", "rtt", "--sizes", "64", "--duration", "20ms", "--warmup", "1ms", "--resume", "--out", dir}
	if o := peers(t, append(args, "--rounds", "2", "--budget", "1ns")...); o.status != exitMore || !strings.Contains(o.stderr, "--resume") {
		t.Fatalf("no time at all: status %d\n%s", o.status, o.stderr)
	}
	runs := 0
	for _, rounds := range []string{"1", "3"} {
		if o := peers(t, append(args, "--rounds", rounds)...); o.status != exitOK {
			t.Fatalf("status %d\n%s", o.status, o.stderr)
		}
		runs++
	}
	r := read(t, dir)
	if len(r.Samples) != 3*4 || len(r.Runs) != runs {
		t.Errorf("%d samples of %d runs, want 12 of %d", len(r.Samples), len(r.Runs), runs)
	}
	if o := peers(t, append(args, "--rounds", "3")...); o.status != exitOK || strings.Contains(o.stderr, "round") {
		t.Errorf("complete already: status %d\n%s", o.status, o.stderr)
	}
	if r := read(t, dir); len(r.Runs) != runs {
		t.Errorf("%d runs, though the last has measured nothing", len(r.Runs))
	}
	if o := peers(t, append(args, "--sizes", "1K")...); o.status != exitFailed || !strings.Contains(o.stderr, "--sizes differed") {
		t.Errorf("other sizes: status %d\n%s", o.status, o.stderr)
	}
	if err := os.WriteFile(filepath.Join(dir, report.JSONFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := peers(t, args...); o.status != exitFailed || !strings.Contains(o.stderr, "not a usable report") {
		t.Errorf("a broken file: status %d\n%s", o.status, o.stderr)
	}
}

func TestRoundsHaveOrdersOfTheirOwn(t *testing.T) {
	o, err := parse([]string{"--out", "x"}, adapter.All())
	if err != nil {
		t.Skip(err)
	}
	cells := o.cells()
	names := func(cs []measure.Cell) (all []string) {
		for _, c := range cs {
			all = append(all, c.String())
		}
		return all
	}
	first, again, second := names(order(cells, 1)), names(order(cells, 1)), names(order(cells, 2))
	if !slices.Equal(first, again) || slices.Equal(first, second) {
		t.Error("orders are not drawn by round")
	}
	slices.Sort(first)
	if all := names(cells); !slices.Equal(first, slices.Sorted(slices.Values(all))) || len(slices.Compact(first)) != len(cells) {
		t.Error("a round is not every measurement once")
	}
}

// What was measured is kept, and nothing else is: no file, no process, whose
// stderr is the one that Wait waits for.
func TestInterruptedInTheMiddle(t *testing.T) {
	needTwoCPUs(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := t.TempDir()
			cmd, finish := program(t, "--duration", "300ms", "--rounds", "100", "--only", "cell-ring-raw,nats", "--works", "rtt", "--sizes", "64", "--out", dir)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
				if made, _ := filepath.Glob(filepath.Join(temporary(cmd), "*")); len(made) > 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatal("it has not begun")
				}
			}
			time.Sleep(200 * time.Millisecond) // anywhere in it
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			o := finish()
			if sig == syscall.SIGKILL {
				return
			}
			if o.status != exitFailed || !strings.Contains(o.stderr, "interrupted") {
				t.Errorf("status %d\n%s", o.status, o.stderr)
			}
			if _, err := report.Read(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
		})
	}
}
