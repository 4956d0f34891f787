// Package check holds the C programs of perf/limit to what their callers rely
// on: one line of JSON on success, a sentence and a status on failure, and
// nothing left behind. How fast they are is no test's business.
package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// build compiles perf/limit once for all tests and returns the directory.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cell-limit-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("make", "-C", "..", "BUILD="+dir).CombinedOutput()
	if err != nil {
		return dir, errors.New("make failed: " + string(out))
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if dir, _ := build(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(status)
}

// program returns the path of a built program, or skips the test where the
// host can't build or run it.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, tool := range []string{"make", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed; perf/limit is optional", tool)
		}
	}
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s was not built: libdpdk is not installed, and is optional", name)
	}
	return path
}

// cpuPair returns two CPUs that this process may use, as --cpus takes them.
func cpuPair(t *testing.T) string {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	var found []string
	for cpu := 0; cpu < 1024 && len(found) < 2; cpu++ {
		if set.IsSet(cpu) {
			found = append(found, strconv.Itoa(cpu))
		}
	}
	if len(found) < 2 {
		t.Skipf("needs two CPUs, may use %d of %d", len(found), runtime.NumCPU())
	}
	return strings.Join(found, ",")
}

// line is what a run prints; see print_result in rig.c.
type line struct {
	Kind, Link  string
	Size, Count uint64
	CPUs        []int
	NS          map[string]float64
	MsgsPerS    float64 `json:"msgs_per_s"`
	BytesPerS   float64 `json:"bytes_per_s"`
}

func TestEachMeasurementPrintsOneLineOfJSON(t *testing.T) {
	cpus := cpuPair(t)
	for _, c := range []struct {
		program, flags, kind string
		rtt                  bool
	}{
		{"limit", "pingpong --count 20000 --warmup 1000", "pingpong", true},
		{"limit", "ring-rtt --count 20000 --warmup 1000", "rtt", true},
		{"limit", "ring-rtt --count 5000 --size 3000 --ring 64K", "rtt", true},
		{"limit", "stream --seconds 0.05 --batch 1", "stream", false},
		{"limit", "stream --seconds 0.05 --batch 32", "stream", false},
		{"limit", "stream --seconds 0.05 --batch 3 --size 200 --ring 4096", "stream", false},
		{"limit", "stream --seconds 0.05 --batch 4096 --ring 512K", "stream", false},
		{"limit", "stream --seconds 0.05 --batch=1 --size=1M", "stream", false},
		{"limit", "copy --seconds 0.05 --size 1K", "copy", false},
		{"limit", "copy --seconds 0.05 --size 1K --batch 32 --ring 16K", "copy", false},
		{"limit", "copy --seconds 0.05 --size 1M --copyout", "copy", false},
		{"limit-dpdk", "stream --seconds 0.05 --batch 1", "stream", false},
		{"limit-dpdk", "stream --seconds 0.05 --batch 32 --mode elem", "stream", false},
		{"limit-dpdk", "stream --seconds 0.05 --batch 512 --ring 64K", "stream", false},
		{"limit-dpdk", "rtt --count 5000 --warmup 100 --ring 4096", "rtt", true},
	} {
		t.Run(c.program+" "+c.flags, func(t *testing.T) {
			args := append(strings.Fields(c.flags), "--cpus", cpus)
			out, err := exec.Command(program(t, c.program), args...).Output()
			if err != nil {
				var exit *exec.ExitError
				errors.As(err, &exit)
				t.Fatalf("%v; stderr: %s", err, exit.Stderr)
			}
			if bytes.Count(out, []byte("\n")) != 1 {
				t.Fatalf("not one line: %q", out)
			}
			var l line
			if err := json.Unmarshal(out, &l); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			if l.Kind != c.kind || l.Count == 0 || l.MsgsPerS <= 0 || l.BytesPerS <= 0 || len(l.CPUs) != 2 {
				t.Errorf("incomplete: %s", out)
			}
			if c.rtt {
				checkPercentiles(t, l.NS)
			}
		})
	}
}

func checkPercentiles(t *testing.T, ns map[string]float64) {
	t.Helper()
	last := 0.0
	for _, name := range []string{"min", "p50", "p90", "p99", "p99_9", "p99_99", "p99_999", "max"} {
		v, ok := ns[name]
		if !ok || v < last {
			t.Errorf("%s is %v (present: %t), after %v", name, v, ok, last)
		}
		last = v
	}
	if m := ns["mean"]; m <= 0 || m > ns["max"] {
		t.Errorf("mean %v is out of range", m)
	}
}

func TestBadFlagsAreRefusedWithASentence(t *testing.T) {
	for name, c := range map[string]struct{ flags, says string }{
		"no measurement":       {"", "no measurement named"},
		"unknown measurement":  {"fly", "unknown measurement"},
		"unknown flag":         {"pingpong --batch 3", "unknown flag --batch"},
		"one CPU":              {"pingpong --cpus 0", "two CPU numbers"},
		"the same CPU twice":   {"pingpong --cpus 0,0", "two different CPUs"},
		"no number":            {"pingpong --count many", "--count takes a whole number"},
		"negative":             {"stream --size -64", "--size takes a whole number"},
		"overflow":             {"stream --size 99999999999999999999G", "--size takes a whole number"},
		"missing value":        {"stream --size", "--size needs a value"},
		"ring not a power":     {"stream --ring 5000", "power of two"},
		"ring below a batch":   {"stream --ring 4096 --batch 64", "holds a batch"},
		"longer than its time": {"stream --seconds 5 --timeout 5", "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(program(t, "limit"), strings.Fields(c.flags)...)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), c.says) {
				t.Errorf("got %v, %q; want status 2 and %q", err, out, c.says)
			}
		})
	}
}

func TestAHungRunEndsAndLeavesNoProcess(t *testing.T) {
	cpus := cpuPair(t)
	// A billion round trips take minutes; the alarm ends them after a second.
	cmd := exec.Command(program(t, "limit"), "pingpong", "--count", "1G", "--timeout", "1", "--cpus", cpus)
	begun := time.Now()
	// This waits until nobody holds the write end of the pipe, so it also
	// waits for the child, should that outlive its parent.
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "--timeout") {
		t.Errorf("got %v, %q; want status 1 and a word on --timeout", err, out)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("ended after %v: the child outlived its parent", took)
	}
}
