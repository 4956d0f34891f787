package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

// peerEnv makes the peer that a test starts misbehave: "lie" about digests,
// "garble" its answers, do "nothing" at all.
const peerEnv = "CELLBENCH_TEST_PEER"

// TestMain is the peer, too: New runs the program itself again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == PeerArg {
		os.Exit(peer(os.Getenv(peerEnv)))
	}
	if os.Getenv(peerEnv) != "nothing" {
		warmUp()
	}
	os.Exit(m.Run())
}

// warmUp makes the runtime open the descriptors that it opens once, so that
// they are no leaks of the first test.
func warmUp() {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), peerEnv+"=nothing")
	_ = cmd.Run()
}

func peer(manner string) int {
	if manner == "" {
		return PeerMain()
	}
	dir, err := moveIn(os.Stdout)
	if err != nil {
		return 1
	}
	defer os.RemoveAll(dir)
	switch manner {
	case "lie":
		if err := Peer(os.Stdin, writer(func(b []byte) []byte {
			before, after, ok := bytes.Cut(b, []byte(`"sha256":"`))
			if !ok {
				return b
			}
			return append(append(before, `"sha256":"0000`...), after[4:]...)
		})); err != nil {
			return 1
		}
		return 0
	case "garble":
		_ = Peer(os.Stdin, writer(func([]byte) []byte { return []byte("{nothing\n") }))
		return 0
	}
	return 1
}

// writer changes what goes to the standard output.
type writer func([]byte) []byte

func (f writer) Write(b []byte) (int, error) {
	_, err := os.Stdout.Write(f(b))
	return len(b), err
}

// patience bounds what a test waits for on a busy machine.
const patience = 2 * time.Minute

// begin starts a bench in a directory for temporary files of its own, and
// holds at the test's end that nothing is left: no file, process, descriptor
// or goroutine.
func begin(t *testing.T) (*Bench, context.Context) {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs")
	}
	temp := shortTemp(t)
	fds, routines := descriptors(t), runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	b, err := New(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		cancel()
		if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if err := b.peer.Process.Signal(os.Kill); err == nil {
			t.Error("the peer process lives on")
		}
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			f, g := descriptors(t), runtime.NumGoroutine()
			if len(f) <= len(fds) && g <= routines {
				return
			}
			if time.Now().After(deadline) {
				stacks := make([]byte, 64<<10)
				t.Errorf("leak: descriptors %v -> %v, goroutines %d -> %d\n%s", fds, f, routines, g, stacks[:runtime.Stack(stacks, true)])
				return
			}
		}
	})
	return b, ctx
}

// shortTemp makes a directory for temporary files whose path leaves room for
// sockets, which t.TempDir of a long test's name doesn't.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	return dir
}

// descriptors lists what this process has open.
func descriptors(t *testing.T) (open []string) {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if to, err := os.Readlink("/proc/self/fd/" + n.Name()); err == nil && !strings.HasPrefix(to, "/proc/") {
			open = append(open, n.Name()+" "+to)
		}
	}
	return open
}

// short is the least that says whether a measurement works.
func short(kind, link string) Spec {
	return Spec{Kind: kind, Link: link, Size: 64, Batch: 1, CPUs: [2]int{0, 1}, Rounds: 1,
		Duration: 15 * time.Millisecond, Warmup: time.Millisecond}
}

// measured makes a measurement, and a longer one where the host stalled for as
// long as the first one took.
func measured(t *testing.T, s Spec) (report.Result, []report.Round) {
	t.Helper()
	b, ctx := begin(t)
	for {
		res, rounds, err := b.Measure(ctx, s, nil)
		stalled := err != nil && strings.Contains(err.Error(), "lengthen --duration") || err == nil && res.Count < enough
		if stalled && s.Duration < 2*time.Second {
			s.Duration *= 4
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		sound(t, res)
		return res, rounds
	}
}

// enough samples for percentiles.
const enough = 10

// named makes a subtest's name of a Spec.
func named(s Spec) string {
	return fmt.Sprintf("%s %s size %d batch %d rate %v wait %s", s.Kind, s.Link, s.Size, s.Batch, s.Rate, s.Wait)
}

// sound holds a result to what every one must be, and to be writable.
func sound(t *testing.T, res report.Result) {
	t.Helper()
	if res.Count == 0 || res.MsgsPerS == nil || *res.MsgsPerS <= 0 {
		t.Errorf("counted %d, %v a second", res.Count, res.MsgsPerS)
	}
	if res.Host == nil || len(res.Host.CPUs) != 2 || res.Started.IsZero() || res.Path == "" {
		t.Errorf("host %v, started %v, path %q", res.Host, res.Started, res.Path)
	}
	var b bytes.Buffer
	if err := report.WriteResult(&b, res); err != nil {
		t.Fatal(err)
	}
	if _, err := report.Read(&b); err != nil {
		t.Errorf("the result can't be read back: %v", err)
	}
	if err := report.WriteHTML(io.Discard, report.Report{Host: res.Host, Results: []report.Result{res}}); err != nil {
		t.Error(err)
	}
}
