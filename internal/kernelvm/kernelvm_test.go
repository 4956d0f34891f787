package kernelvm

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestResults(t *testing.T) {
	const output = `init: ready after 1ms; uptime 2.0 1.0
=== RUN   TestA
=== RUN   TestA/one
    a_test.go:1: said by one
=== RUN   TestA/two
--- FAIL: TestA (0.10s)
    --- PASS: TestA/one (0.00s)
    --- FAIL: TestA/two (0.00s)
=== RUN   TestB
    b_test.go:1: not here
--- SKIP: TestB (0.00s)
=== RUN   TestC
--- PASS: TestC (0.00s)
PASS
`
	var got []string
	for _, r := range Results(strings.ReplaceAll(output, "\n", "\r\n")) {
		s := r.Name
		if r.Failed {
			s += " failed"
		}
		if r.Skipped {
			s += " skipped"
		}
		if strings.Contains(r.Output, "said by one") != (r.Name == "TestA/one") {
			t.Errorf("%s has the output %q", r.Name, r.Output)
		}
		got = append(got, s)
	}
	if s := strings.Join(got, ", "); s != "TestA/one, TestA/two failed, TestB skipped, TestC" {
		t.Errorf("read %s", s)
	}
}

// The archive is one that cpio reads, where there is cpio.
func TestArchive(t *testing.T) {
	a := newArchive()
	a.file("/a/b/c", []byte("content"))
	a.file("/a/d", nil)
	b := a.bytes()
	if len(b)%4 != 0 || string(b[:6]) != "070701" || !strings.Contains(string(b), "TRAILER!!!") {
		t.Errorf("no archive: % x", b[:16])
	}
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		return
	}
	c := exec.Command(cpio, "-t", "--quiet")
	c.Stdin = strings.NewReader(string(b))
	out, err := c.CombinedOutput()
	if want := "dev\ndev/console\ndev/null\na\na/b\na/b/c\na/d\n"; err != nil || string(out) != want {
		t.Errorf("cpio reads %q, %v", out, err)
	}
}

func TestUncompressRefusesWhatIsNoKernel(t *testing.T) {
	image := make([]byte, 4096)
	at := func(begin, size uint32) []byte {
		b := append([]byte(nil), image...)
		binary.LittleEndian.PutUint32(b[offPayload:], begin)
		binary.LittleEndian.PutUint32(b[offPayloadSize:], size)
		return b
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "zeros": image, "payload outside": at(0, 1<<20), "payload of nothing known": at(0, 100),
		"begins far away": at(1<<31, 100),
	} {
		if _, err := uncompress(context.Background(), b); err == nil {
			t.Errorf("%s is a kernel", name)
		}
	}
}

func TestDependenciesRefusesWhatIsNoModule(t *testing.T) {
	if _, err := dependencies([]byte("not an ELF file")); err == nil {
		t.Error("it is a module")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dependencies(b); err == nil {
		t.Error("a program is a module")
	}
	k := Kernel{Release: "0", Modules: t.TempDir()}
	if _, _, err := k.loadable([]string{"vcan"}); err == nil || !strings.Contains(err.Error(), "vcan") {
		t.Errorf("a module that is not there: %v", err)
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := Machine{}.Run(context.Background(), nil)
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "apt-get install qemu-system-x86") {
		t.Errorf("without QEMU: %v", err)
	}
	if _, err := Debian(context.Background(), "linux-image-amd64"); !errors.Is(err, ErrMissing) {
		t.Errorf("without apt: %v", err)
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("CELL_VM_CACHE", "/elsewhere")
	if dir, err := cacheDir(); dir != "/elsewhere" || err != nil {
		t.Errorf("%s, %v", dir, err)
	}
	t.Setenv("CELL_VM_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/cache")
	if dir, err := cacheDir(); dir != filepath.Join("/cache", "cell", "kernels") || err != nil {
		t.Errorf("%s, %v", dir, err)
	}
}
