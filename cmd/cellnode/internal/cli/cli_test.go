package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// run runs a command line.
func run(t *testing.T, args ...string) (code int, out, complaints string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Run(t.Context(), args, &Env{In: strings.NewReader(""), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

// capitalKey finds keys of JSON that are written unlike all others.
var capitalKey = regexp.MustCompile(`"[A-Z]\w*": `)

// fitForPrograms checks a result of -o json.
func fitForPrograms(t *testing.T, out string) {
	t.Helper()
	if !json.Valid([]byte(out)) {
		t.Errorf("no JSON: %s", out)
	}
	if key := capitalKey.FindString(out); key != "" {
		t.Errorf("the key %s is in capitals: %s", key, out)
	}
}

// commands returns all commands, deepest last.
func commands() (all []*cobra.Command) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		all = append(all, c)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(NewRoot(&Env{}))
	return all
}

// words returns the words of a command's path below the program's name.
func words(c *cobra.Command) []string { return strings.Fields(c.CommandPath())[1:] }

func TestEveryCommand(t *testing.T) {
	for _, c := range commands() {
		t.Run(c.CommandPath(), func(t *testing.T) {
			if c.Short == "" || strings.HasSuffix(c.Short, ".") {
				t.Errorf("summary %q: wanted a phrase without a full stop", c.Short)
			}
			if !strings.Contains(c.Example, c.CommandPath()) {
				t.Errorf("example %q does not contain %q", c.Example, c.CommandPath())
			}
			code, out, complaints := run(t, append(words(c), "--help")...)
			if code != ExitOK || complaints != "" || !strings.Contains(out, c.Example) {
				t.Errorf("--help: code %d, %s%s", code, out, complaints)
			}
			for name, args := range map[string][]string{
				"an unknown flag":              {"--no-such-flag"},
				"an unknown format":            {"-o", "yaml"},
				"too many and wrong arguments": {"/", "/", "/", "/", "/", "/"},
			} {
				code, out, complaints := run(t, append(words(c), args...)...)
				if code != ExitUsage || out != "" || !strings.Contains(complaints, "--help") {
					t.Errorf("%s: code %d, wanted %d and a hint; %s%s", name, code, ExitUsage, out, complaints)
				}
			}
		})
	}
}

func TestNoSuchCommand(t *testing.T) {
	code, _, complaints := run(t, "docter")
	if code != ExitUsage || !strings.Contains(complaints, "did you mean doctor?") {
		t.Errorf("code %d, %s", code, complaints)
	}
}

func TestWithoutArgumentsHelp(t *testing.T) {
	code, out, _ := run(t)
	if code != ExitOK || !strings.Contains(out, "doctor") {
		t.Errorf("code %d, %s", code, out)
	}
}

func TestExitCode(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want int
	}{
		"done":             {nil, 0},
		"failed":           {errors.New("no"), 1},
		"reported":         {ErrReported, 1},
		"wrong usage":      {fmt.Errorf("x: %w", usagef("no")), 2},
		"a call not found": {&CallError{rpc.Errorf(wire.StatusNotFound, "no")}, 69},
		"a call canceled":  {&CallError{context.Canceled}, 65},
		"peer gone":        {fmt.Errorf("x: %w", &CallError{rpc.Errorf(wire.StatusPeerGone, "no")}), 96},
	} {
		if got := ExitCode(tc.err); got != tc.want {
			t.Errorf("%s: %d, wanted %d", name, got, tc.want)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, _ := run(t, "completion", shell); code != 0 || !strings.Contains(out, "__complete") {
			t.Errorf("%s: code %d, %.200s", shell, code, out)
		}
	}
	if _, out, _ := run(t, "__complete", "doc"); !strings.HasPrefix(out, "doctor\t") {
		t.Errorf("doc completes to %q", out)
	}
}

func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if code, out, complaints := run(t, "man", dir); code != 0 {
		t.Fatalf("code %d, %s%s", code, out, complaints)
	}
	for _, c := range commands() {
		page, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		if err != nil || !bytes.Contains(page, []byte(".SH EXAMPLE")) {
			t.Errorf("%s: %v, %.200s", c.CommandPath(), err, page)
		}
	}
}

func TestVersion(t *testing.T) {
	var v versionInfo
	if _, out, _ := run(t, "version", "-o", "json"); json.Unmarshal([]byte(out), &v) != nil || v.Go == "" {
		t.Errorf("%s", out)
	}
	if _, out, _ := run(t, "version"); !strings.HasPrefix(out, "cellnode ") {
		t.Errorf("%s", out)
	}
}

// with has doctor use other probes while a test runs.
func with(t *testing.T, p ...probe) {
	before := probes
	t.Cleanup(func() { probes = before })
	probes = p
}

func TestDoctor(t *testing.T) {
	fine := sched.Finding{ID: "a.b", What: "fine", Evidence: "1"}
	bad := sched.Finding{ID: "a.c", Severity: sched.Problem, What: "bad", Evidence: "0", Fix: "do this"}
	finds := func(f ...sched.Finding) func(context.Context, needs) ([]sched.Finding, error) {
		return func(context.Context, needs) ([]sched.Finding, error) { return f, nil }
	}
	for name, tc := range map[string]struct {
		probes []probe
		args   []string
		code   int
		out    string
	}{
		"in order":                  {[]probe{{name: "x", look: finds(fine)}}, nil, 0, "1 in order, 0 to know, 0 warnings, 0 problems\n"},
		"in order, all":             {[]probe{{name: "x", look: finds(fine)}}, []string{"--all"}, 0, "ok      a.b: fine\n        evidence: 1\n1 in order"},
		"a problem":                 {[]probe{{name: "x", look: finds(bad)}}, nil, 1, "problem a.c: bad\n        evidence: 0\n        fix: do this\n"},
		"the other probe":           {[]probe{{name: "x", look: finds(bad)}, {name: "y", look: finds(fine)}}, []string{"y"}, 0, "1 in order"},
		"no such probe":             {[]probe{{name: "x", look: finds(fine)}}, []string{"z"}, 2, ""},
		"a probe that can't look":   {[]probe{{name: "x", look: func(context.Context, needs) ([]sched.Finding, error) { return nil, errors.New("blind") }}}, nil, 1, "0 in order"},
		"a problem, for a program":  {[]probe{{name: "x", look: finds(bad)}}, []string{"-o", "json"}, 1, `"worst": "problem"`},
		"no finding, for a program": {[]probe{{name: "x", look: finds()}}, []string{"-o", "json"}, 0, `"findings": []`},
	} {
		t.Run(name, func(t *testing.T) {
			with(t, tc.probes...)
			code, out, complaints := run(t, append([]string{"doctor"}, tc.args...)...)
			if code != tc.code || !strings.Contains(out, tc.out) {
				t.Errorf("code %d, wanted %d and %q:\n%s%s", code, tc.code, tc.out, out, complaints)
			}
		})
	}
}

// TestDoctorHere examines the machine that the test runs on.
func TestDoctorHere(t *testing.T) {
	_, out, complaints := run(t, "doctor", "-o", "json")
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil || complaints != "" {
		t.Fatalf("%v: %s%s", err, out, complaints)
	}
	if len(r.Findings) < 10 {
		t.Errorf("only %d findings", len(r.Findings))
	}
	for _, f := range r.Findings {
		if f.ID == "" || f.What == "" || f.Severity > sched.Info && f.Evidence == "" {
			t.Errorf("%+v says too little", f)
		}
	}
}
