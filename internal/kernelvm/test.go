package kernelvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestOptions say what [Test] runs.
type TestOptions struct {
	// Machine is the machine, but for the kernel. Files and Commands are added
	// to.
	Machine
	// Kernels are Debian's packages; default [Kernels]. One that apt does not
	// know is left out, as long as another one is there.
	Kernels []string
	// Package is whose tests run; default ".", the one under test.
	Package string
	// Tags are the build tags of the tests for the machine, by which the
	// host's own run leaves them out rather than skips them.
	Tags string
	// Run is the pattern of tests to run; default all.
	Run string
	// Check, if set, looks at everything that a machine printed, as a subtest
	// beside those of the results.
	Check func(t *testing.T, output string)
	// Args are further arguments of the tests, such as "-test.short".
	Args []string
	// Env is added to the environment of the tests.
	Env []string
	// Timeout bounds the run on one kernel; default 2 minutes. The first use
	// of a kernel needs time to download it on top.
	Timeout time.Duration
}

const (
	defaultTimeout  = 2 * time.Minute
	downloadTimeout = 5 * time.Minute
	guestTest       = "/test"
)

// Test runs a package's tests in a machine on each kernel that is at hand, as
// subtests of t, and each of their results as a subtest of those. It skips,
// and says why, if no kernel can be booted here.
func Test(t *testing.T, o TestOptions) {
	t.Helper()
	if len(o.Kernels) == 0 {
		o.Kernels = Kernels
	}
	if o.Package == "" {
		o.Package = "."
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if err := have("qemu-system-x86_64"); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), downloadTimeout)
	defer cancel()
	var kernels []Kernel
	for _, pkg := range o.Kernels {
		k, err := Debian(ctx, pkg)
		switch {
		case err == nil:
			kernels = append(kernels, k)
		case errors.Is(err, ErrMissing):
			t.Logf("left out: %v", err)
			if len(kernels) == 0 && pkg == o.Kernels[len(o.Kernels)-1] {
				t.Skip(err)
			}
		default:
			t.Fatal(err)
		}
	}
	binary := filepath.Join(t.TempDir(), "test")
	if err := build(ctx, "test", "-c", "-vet=off", "-tags", o.Tags, "-o", binary, o.Package); err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels {
		t.Run(k.Release, func(t *testing.T) {
			t.Parallel() // much of what links are tested for is waiting
			o.on(t, k, binary)
		})
	}
}

// on runs the tests on one kernel.
func (o TestOptions) on(t *testing.T, k Kernel, binary string) {
	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	defer cancel()
	m := o.Machine
	m.Kernel = k
	m.Files = map[string]string{guestTest: binary}
	for to, from := range o.Files {
		m.Files[to] = from
	}
	m.Commands = append(m.Commands[:len(m.Commands):len(m.Commands)], Command{
		Args: append([]string{guestTest, "-test.v", "-test.run", o.Run, fmt.Sprintf("-test.timeout=%v", o.Timeout)}, o.Args...),
		Env:  o.Env,
	})
	var output bytes.Buffer
	begin := time.Now()
	err := m.Run(ctx, &output)
	results := Results(output.String())
	for _, r := range results {
		t.Run(r.Name, func(t *testing.T) {
			switch {
			case r.Failed:
				t.Errorf("failed in %s:\n%s", k.Release, r.Output)
			case r.Skipped:
				t.Skip(r.Output)
			}
		})
	}
	if o.Check != nil && err == nil {
		t.Run("output", func(t *testing.T) { o.Check(t, strings.ReplaceAll(output.String(), "\r", "")) })
	}
	if err != nil || len(results) == 0 {
		t.Errorf("%v; the whole output:\n%s", err, output.String())
	}
	if dir := os.Getenv("CELL_VM_OUTPUT"); dir != "" {
		_ = os.WriteFile(filepath.Join(dir, k.Release+".txt"), output.Bytes(), 0o644)
	}
	t.Logf("%d tests on %s in %v", len(results), k.Release, time.Since(begin).Round(100*time.Millisecond))
}

// Result is one test's.
type Result struct {
	Name            string
	Failed, Skipped bool
	Output          string // that came after "=== RUN", or behind the verdict
}

var (
	verdict = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(`)
	started = regexp.MustCompile(`^=== (RUN|CONT|NAME)\s+(\S+)`)
)

// Results reads the output of a verbose test run. Tests that are parents of
// others are left out if they passed, since their parts speak for them.
func Results(output string) (all []Result) {
	lines := map[string]*strings.Builder{}
	current := ""
	parents := map[string]bool{}
	for line := range strings.Lines(strings.ReplaceAll(output, "\r", "")) {
		if m := started.FindStringSubmatch(line); m != nil {
			current = m[2]
			continue
		}
		if m := verdict.FindStringSubmatch(line); m != nil {
			current = m[2]
			r := Result{Name: m[2], Failed: m[1] == "FAIL", Skipped: m[1] == "SKIP"}
			for parent, _, ok := cutLast(m[2], "/"); ok; parent, _, ok = cutLast(parent, "/") {
				parents[parent] = true
			}
			all = append(all, r)
			continue
		}
		if current != "" {
			if lines[current] == nil {
				lines[current] = &strings.Builder{}
			}
			lines[current].WriteString(line)
		}
	}
	kept := all[:0]
	for _, r := range all {
		if b := lines[r.Name]; b != nil {
			r.Output = b.String()
		}
		if !parents[r.Name] || r.Failed && r.Output != "" {
			kept = append(kept, r)
		}
	}
	return kept
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
