package ebpf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The committed objects are what the sources give, where there is a clang.
func TestObjectsAreCompiledFromTheirSources(t *testing.T) {
	// Other versions give other bytes.
	version, err := exec.Command("clang", "--version").Output()
	if err != nil || !bytes.Contains(version, []byte("version 14.")) {
		t.Skip("no clang 14, with which the objects were made: apt-get install clang-14 llvm-14")
	}
	dir := t.TempDir()
	bpf2go := filepath.Join(dir, "bpf2go")
	if out, err := exec.Command("go", "build", "-o", bpf2go, "github.com/cilium/ebpf/cmd/bpf2go").CombinedOutput(); err != nil {
		t.Fatalf("building bpf2go: %v\n%s", err, out)
	}
	var names []string
	for _, program := range []string{"redirect", "timed", "pheromone", "steer"} {
		cmd := exec.Command(bpf2go, "-cc", "clang", "-target", "bpfel,bpfeb",
			"-cflags", "-O2 -g0 -Wall -Werror", "-no-global-types", "-go-package", "ebpf", "-output-dir", dir, program, "bpf/"+program+".c", "--", "-Ibpf")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("bpf2go: %v\n%s", err, out)
		}
		for _, end := range []string{"_bpfel.o", "_bpfeb.o", "_bpfel.go", "_bpfeb.go"} {
			names = append(names, program+end)
		}
	}
	for _, name := range names {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what its source gives: run go generate ./ebpf", name)
		}
	}
}
