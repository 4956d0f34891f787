package identity

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("IDENTITY_TEST_START"); dir != "" {
		k, err := LoadOrCreate(dir)
		if err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Stdout.WriteString(k.ID().String())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestAKeyIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if _, err := Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	k, err := LoadOrCreate(dir)
	must(t, err)
	again, err := LoadOrCreate(dir)
	must(t, err)
	loaded, err := Load(dir)
	must(t, err)
	if again.ID() != k.ID() || loaded.ID() != k.ID() {
		t.Error("the key changed")
	}
	for name, want := range map[string]fs.FileMode{"": 0o700, fileKey: 0o600} {
		st, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if st.Mode().Perm() != want {
			t.Errorf("%q has mode %v", name, st.Mode())
		}
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestProcessesThatStartAtOnceGetOneKey(t *testing.T) {
	self, err := os.Executable()
	must(t, err)
	dir := filepath.Join(t.TempDir(), "id")
	const n = 8
	ids := make(chan string, n)
	for range n {
		go func() {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), "IDENTITY_TEST_START="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				out = append(out, err.Error()...)
			}
			ids <- string(out)
		}()
	}
	first := <-ids
	for range n - 1 {
		if other := <-ids; other != first {
			t.Errorf("%s and %s", first, other)
		}
	}
	if _, err := ParseID(first); err != nil {
		t.Error(err)
	}
}

func TestWhatAKilledProcessLeftIsReplaced(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, fileKey+".new"), []byte("half a k"), 0o600))
	k, err := LoadOrCreate(dir)
	must(t, err)
	if again, err := Load(dir); err != nil || again.ID() != k.ID() {
		t.Error(again, err)
	}
}

func TestUnsafeFilesAreRefusedWithTheRemedy(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(dir string) error
		want   error
		remedy string
	}{
		{"directory open to others", func(d string) error { return os.Chmod(d, 0o755) }, ErrDir, "chmod 700"},
		{"key open to others", func(d string) error { return os.Chmod(filepath.Join(d, fileKey), 0o644) }, ErrDir, "chmod 600"},
		{"directory is a link", func(d string) error {
			return errors.Join(os.Rename(d, d+"x"), os.Symlink(d+"x", d))
		}, ErrDir, "no symbolic link"},
		{"key is a link", func(d string) error {
			f := filepath.Join(d, fileKey)
			return errors.Join(os.Rename(f, f+"x"), os.Symlink(f+"x", f))
		}, nil, ""},
		{"key is a directory", func(d string) error {
			f := filepath.Join(d, fileKey)
			return errors.Join(os.Remove(f), os.Mkdir(f, 0o700))
		}, ErrDir, "remove it"},
		{"key is empty", func(d string) error { return os.Truncate(filepath.Join(d, fileKey), 0) }, ErrKey, "restore it"},
		{"key is too long", func(d string) error { return os.Truncate(filepath.Join(d, fileKey), 1<<20) }, ErrDir, "longer"},
		{"key of another kind", func(d string) error {
			return os.WriteFile(filepath.Join(d, fileKey), []byte(`-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2
OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r
1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G
-----END PRIVATE KEY-----
`), 0o600)
		}, ErrKey, "Ed25519"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "id")
			k, err := LoadOrCreate(dir)
			must(t, err)
			must(t, c.spoil(dir))
			got, err := LoadOrCreate(dir)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.remedy) {
				t.Fatalf("%v, %v", got, err)
			}
			_ = k
		})
	}
}

func TestADirectoryOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := filepath.Join(t.TempDir(), "id")
	if _, err := LoadOrCreate(dir); err != nil {
		t.Fatal(err)
	}
	must(t, os.Chown(filepath.Join(dir, fileKey), 12345, 12345))
	if _, err := LoadOrCreate(dir); !errors.Is(err, ErrDir) {
		t.Errorf("key of another: %v", err)
	}
	must(t, os.Chown(dir, 12345, 12345))
	if _, err := LoadOrCreate(dir); !errors.Is(err, ErrDir) {
		t.Errorf("directory of another: %v", err)
	}
}
