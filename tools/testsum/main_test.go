package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSummarize(t *testing.T) {
	for name, c := range map[string]struct {
		in    string
		want  tally
		says  []string
		quiet string
	}{
		"nothing": {"", tally{}, nil, ""},
		"a pass is quiet": {
			`{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1.5}
`, tally{1, 0, 0}, []string{"ok   p  1.5s, 1 passed\n"}, "chatter"},
		"a failure prints its output, and only its own": {
			`{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"want <1> & got 2\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
`, tally{1, 1, 0}, []string{"FAIL p", "want <1> & got 2"}, "chatter"},
		"a skip says why": {
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: needs root\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}
`, tally{0, 0, 1}, []string{"skipped: a_test.go:1: needs root"}, ""},
		"a package that does not build is one failure": {
			`{"ImportPath":"p [p.test]","Action":"build-output","Output":"p/a.go:1: syntax error\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"fail","Package":"p"}
`, tally{0, 1, 0}, []string{"FAIL p", "syntax error"}, ""},
		"a package that panics outside a test is one failure": {
			`{"Action":"output","Package":"p","Output":"panic: boom\n"}
{"Action":"fail","Package":"p"}
`, tally{0, 1, 0}, []string{"panic: boom"}, ""},
		"a run that was killed failed": {
			`{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestA","Output":"waiting\n"}
`, tally{0, 1, 0}, []string{"p did not end"}, ""},
		"a package without tests is not mentioned": {
			`{"Action":"start","Package":"p"}
{"Action":"skip","Package":"p"}
`, tally{}, nil, "p"},
		"other lines are passed on": {"go: downloading x\n", tally{}, []string{"go: downloading x\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			got, err := summarize(strings.NewReader(c.in), &out)
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
			for _, says := range c.says {
				if !strings.Contains(out.String(), says) {
					t.Errorf("%q lacks %q", out.String(), says)
				}
			}
			if c.quiet != "" && strings.Contains(out.String(), c.quiet) {
				t.Errorf("%q contains %q", out.String(), c.quiet)
			}
		})
	}
}

func TestRecordAppends(t *testing.T) {
	name := filepath.Join(t.TempDir(), "counts")
	for _, counts := range []tally{{1, 2, 3}, {4, 5, 6}} {
		if err := record(name, counts); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "1 2 3\n4 5 6\n" {
		t.Errorf("got %q, %v", got, err)
	}
}
