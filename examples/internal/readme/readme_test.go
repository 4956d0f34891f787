package readme

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	text := "# Title\n```sh\necho a\n\necho b\n```\nwords\n```text\na\n\nb\n```\n```go\nfunc f()\n```\n```sh\ntrue\n```\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	blocks, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) != 2 || blocks[0].Line != 3 || blocks[0].Script != "echo a\n\necho b\n" ||
		!slices.Equal(blocks[0].Output, []string{"a", "b"}) || blocks[1].Script != "true\n" || blocks[1].Output != nil {
		t.Errorf("%+v", blocks)
	}
}

func TestReadRefusesOutputWithoutCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(file, []byte("```text\na\n```\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if blocks, err := Read(file); err == nil {
		t.Errorf("got %+v", blocks)
	}
}

func TestMissing(t *testing.T) {
	for name, c := range map[string]struct {
		output string
		want   []string
		line   string
	}{
		"nothing wanted":              {"a\n", nil, ""},
		"all there":                   {"a\nb\n", []string{"a", "b"}, ""},
		"others between":              {"x\na\ny\nb\n", []string{"a", "b"}, ""},
		"another order":               {"b\na\n", []string{"a", "b"}, "b"},
		"once instead of twice":       {"a\n", []string{"a", "a"}, "a"},
		"a part of a line is no line": {"abc\n", []string{"ab"}, "ab"},
		"any characters":              {"took 5 ms, 3 lost\n", []string{"took … ms, … lost"}, ""},
		"any, also none":              {"took  ms\n", []string{"took … ms"}, ""},
		"any, but the end differs":    {"took 5 s\n", []string{"took … ms"}, "took … ms"},
		"any, but not overlapping":    {"ab\n", []string{"ab…b"}, "ab…b"},
		"any before and behind":       {"2026 error: no file x\n", []string{"…no file…"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			line, found := missing(c.output, c.want)
			if line != c.line || found != (c.line != "") {
				t.Errorf("%q, %v; want %q", line, found, c.line)
			}
		})
	}
}

func TestRunHoldsADocumentThatIsTrue(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	text := "```sh\ndir=$(mktemp -d)\nsleep 60 &\n```\n```sh\nkill %1\nrmdir $dir\necho done $VALUE\n```\n```text\ndone 5\n```\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	Run(t, file, t.TempDir(), "VALUE=5")
}

func TestMembersOfASession(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if got := members(pid); !slices.Equal(got, []int{pid}) {
		t.Errorf("%v while %d lives", got, pid)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if got := members(pid); len(got) > 0 {
		t.Errorf("%v after it ended", got)
	}
}
