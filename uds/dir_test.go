package uds

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRuntimeDirFollowsTheEnvironment(t *testing.T) {
	t.Setenv(EnvDir, "/some/where")
	if d, err := RuntimeDir(); d != "/some/where" || err != nil {
		t.Errorf("%q, %v", d, err)
	}
	t.Setenv(EnvDir, "")
	t.Setenv("XDG_RUNTIME_DIR", "/xdg")
	want := "/xdg/cell"
	if os.Geteuid() == 0 {
		want = "/run/cell"
	}
	if d, err := RuntimeDir(); d != want || err != nil {
		t.Errorf("%q, %v", d, err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	if _, err := RuntimeDir(); os.Geteuid() != 0 && !errors.Is(err, ErrDir) {
		t.Errorf("without both: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "prices", "A-b_c.9", strings.Repeat("x", MaxName)} {
		if err := ValidateName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", ".hidden", "a/b", "/abs", "../up", "nul\x00", "spa ce", "ü", "@abstract", strings.Repeat("x", MaxName+1)} {
		if err := ValidateName(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := Listen(name, nil); !errors.Is(err, ErrName) {
			t.Errorf("Listen(%q): %v", name, err)
		}
		if _, err := Dial(soon(t), name, nil); !errors.Is(err, ErrName) {
			t.Errorf("Dial(%q): %v", name, err)
		}
	}
}

func TestPathAboveTheKernelsLimitIsNamedSo(t *testing.T) {
	dir := filepath.Join(privateDir(t), strings.Repeat("d", 60))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	room := maxPath - len(dir) - len("/"+socketSuffix)
	l, err := Listen(strings.Repeat("n", room), &Options{Dir: dir})
	if err != nil {
		t.Fatalf("the longest path that the kernel takes: %v", err)
	}
	l.Close()
	_, err = Listen(strings.Repeat("n", room+1), &Options{Dir: dir})
	if !errors.Is(err, ErrName) || !strings.Contains(err.Error(), "107") {
		t.Errorf("one byte more: %v", err)
	}
}

func TestDirectoriesThatCantBeTrustedAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, base string) string
		says string
		root bool
	}{
		{"symbolic link", func(t *testing.T, base string) string {
			must(0, os.Mkdir(base+"/real", 0o700))
			must(0, os.Symlink(base+"/real", base+"/link"))
			return base + "/link"
		}, "symbolic link", false},
		{"symbolic link with a slash behind", func(t *testing.T, base string) string {
			must(0, os.Mkdir(base+"/real", 0o700))
			must(0, os.Symlink(base+"/real", base+"/link"))
			return base + "/link/"
		}, "symbolic link", false},
		{"writable by the group", func(t *testing.T, base string) string {
			must(0, os.Mkdir(base+"/d", 0o700))
			must(0, os.Chmod(base+"/d", 0o770))
			return base + "/d"
		}, "chmod 700", false},
		{"writable by all", func(t *testing.T, base string) string {
			must(0, os.Mkdir(base+"/d", 0o700))
			must(0, os.Chmod(base+"/d", 0o777))
			return base + "/d"
		}, "chmod 700", false},
		{"sticky and writable by all", func(t *testing.T, base string) string {
			must(0, os.Mkdir(base+"/d", 0o700))
			must(0, os.Chmod(base+"/d", 0o777|os.ModeSticky))
			return base + "/d"
		}, "chmod 700", false},
		{"someone else's", func(t *testing.T, base string) string {
			must(0, os.Mkdir(base+"/d", 0o700))
			must(0, os.Chown(base+"/d", 12345, 12345))
			return base + "/d"
		}, "uid 12345", true},
		{"parent writable by all", func(t *testing.T, base string) string {
			must(0, os.Mkdir(base+"/open", 0o700))
			must(0, os.Chmod(base+"/open", 0o777))
			must(0, os.Mkdir(base+"/open/d", 0o700))
			return base + "/open/d"
		}, "sticky", false},
		{"plain file", func(t *testing.T, base string) string {
			must(0, os.WriteFile(base+"/f", nil, 0o600))
			return base + "/f"
		}, "not a directory", false},
		{"relative", func(*testing.T, string) string { return "cell" }, "absolute", false},
		{"without a parent", func(_ *testing.T, base string) string { return base + "/no/such" }, "no such", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				t.Skip("needs root, to give a directory away")
			}
			dir := c.make(t, privateDir(t))
			_, err := Listen("test", &Options{Dir: dir})
			if !errors.Is(err, ErrDir) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Listen: %v", err)
			}
			if _, err := Dial(soon(t), "test", &Options{Dir: dir}); !errors.Is(err, ErrDir) && !errors.Is(err, ErrNoListener) {
				t.Errorf("Dial: %v", err)
			}
		})
	}
}

func TestDirectoryAndSocketAreMadePrivate(t *testing.T) {
	dir := filepath.Join(privateDir(t), "cell")
	l, err := Listen("test", &Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: os.ModeDir | 0o700, l.Path(): os.ModeSocket | 0o600, dir + "/test.lock": 0o600} {
		if st, err := os.Lstat(path); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("Close left %v", left)
	}
	l, err = Listen("test", &Options{Dir: dir, Mode: 0o666})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if st, _ := os.Lstat(l.Path()); st.Mode().Perm() != 0o666 {
		t.Errorf("mode asked for was 0666, is %v (the umask must not matter)", st.Mode())
	}
}
