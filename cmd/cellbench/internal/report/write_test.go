package report

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func say(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

// holds checks that dir has exactly the file name, with this content.
func holds(t *testing.T, dir, name, content string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != name {
			t.Errorf("%s was left behind", e.Name())
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || string(b) != content {
		t.Errorf("%s holds %q, %v; want %q", name, b, err, content)
	}
}

func TestWriteFileReplacesWholly(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.json")
	if err := WriteFile(path, say("one")); err != nil {
		t.Fatal(err)
	}
	holds(t, dir, "out.json", "one")
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, say("two")); err != nil {
		t.Fatal(err)
	}
	holds(t, dir, "out.json", "two")
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o604 {
		t.Errorf("the mode became %v", info.Mode())
	}
}

func TestWriteFileLeavesTheOldOneOnFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.json")
	if err := WriteFile(path, say("old")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no more results")
	err := WriteFile(path, func(w io.Writer) error {
		io.WriteString(w, "half")
		return broken
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	holds(t, dir, "out.json", "old")
}

func TestWriteFileFollowsALink(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	target := filepath.Join(other, "real.json")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.json")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(link, say("x")); err != nil {
		t.Fatal(err)
	}
	holds(t, other, "real.json", "x")
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v", err)
	}
}

func TestWriteFileSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	before, err := os.Stat("/dev/full")
	if err != nil {
		t.Skip("no /dev/full here")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		want       error
	}{
		{"a full disk", "/dev/full", syscall.ENOSPC},
		{"no such directory", filepath.Join(dir, "none", "out.json"), fs.ErrNotExist},
		{"a file as directory", filepath.Join(file, "out.json"), syscall.ENOTDIR},
		{"a place where nobody may write", "/proc/out.json", nil},
		{"a directory", dir, nil},
	} {
		err := WriteFile(c.path, say("x"))
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	if after, err := os.Stat("/dev/full"); err != nil || !os.SameFile(before, after) {
		t.Error("/dev/full is another file now")
	}
	// More than a buffer: the error comes from within write.
	if err := WriteFile("/dev/full", say(strings.Repeat("x", 1<<20))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a large file on a full disk: %v", err)
	}
}

func TestWriteFileNeedsPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "x"), say("x")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

func TestEveryFormReportsAFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer full.Close()
	rep := smallReport(t)
	c, err := Compare(rep.Results, rep.Results, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(io.Writer) error{
		"result":          func(w io.Writer) error { return WriteResult(w, rep.Results[0]) },
		"report":          func(w io.Writer) error { return WriteReport(w, rep) },
		"table":           func(w io.Writer) error { return WriteTable(w, rep.Results, Style{}) },
		"page":            func(w io.Writer) error { return WriteHTML(w, rep) },
		"histogram":       func(w io.Writer) error { return WriteHgrm(w, upTo(10, 1)) },
		"comparison":      func(w io.Writer) error { return c.WriteText(w, Style{}) },
		"comparison.json": c.WriteJSON,
	} {
		if err := write(full); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: got %v, want ENOSPC", name, err)
		}
	}
}
