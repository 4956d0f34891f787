package scratch

import (
	"bufio"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// userEnv makes this program one that takes a directory, says where, and is
// killed.
const userEnv = "SCRATCH_TEST_USER"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Arg {
		os.Exit(Main(os.Args[2:]))
	}
	if base := os.Getenv(userEnv); base != "" {
		d, err := New(base, "x-", 0o700)
		if err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString(d.Path + "\n")
		select {}
	}
	os.Exit(m.Run())
}

func TestDirOfARunThatEnds(t *testing.T) {
	base := t.TempDir()
	d, err := New(base, "x-", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(d.Path)
	if err != nil || !info.IsDir() || info.Mode().Perm() != fs.FileMode(0o755) || !strings.HasPrefix(d.Path, base+"/x-") {
		t.Errorf("%s: %v, %v", d.Path, info, err)
	}
	if err := os.WriteFile(filepath.Join(d.Path, "file"), nil, 0o600); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.Path); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", d.Path, err)
	}
}

func TestDirOfARunThatIsKilled(t *testing.T) {
	base := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), userEnv+"="+base)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(strings.TrimSpace(dir)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		left, err := filepath.Glob(base + "/*")
		if err != nil || len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("left behind: %v", left)
		}
	}
}

func TestDirThatCantBe(t *testing.T) {
	if _, err := New(filepath.Join(t.TempDir(), "nowhere"), "x-", 0o700); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("%v, want a refusal that says how to mend it", err)
	}
}
