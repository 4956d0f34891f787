package lint

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// tooLong lists the files and functions that may be longer than CheckSize
// allows, each with the reason.
var tooLong = map[string]string{}

// root returns the repository's root.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("the tests of internal/lint run within the repository: %v", err)
	}
	return dir
}

// TestRepository runs every rule over the files of the repository.
func TestRepository(t *testing.T) {
	tree := os.DirFS(root(t))
	for name, rule := range map[string]func(fs.FS) ([]Finding, error){
		"unsafe code stands behind its fence, and no cgo": CheckFence,
		"no vague package names":                          CheckNames,
		"files are formatted":                             CheckFormat,
		"links in documents lead somewhere":               CheckLinks,
		"files and functions are short":                   func(tree fs.FS) ([]Finding, error) { return CheckSize(tree, tooLong) },
	} {
		t.Run(name, func(t *testing.T) {
			found, err := rule(tree)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				t.Error(f)
			}
		})
	}
}

// goCommand runs the go command in the repository's root, without cgo and for
// amd64 so that every host sees the same packages, and returns its output.
func goCommand(t *testing.T, args ...string) (stdout, stderr []byte, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err = cmd.Run()
	return out.Bytes(), complaints.Bytes(), err
}

func TestImportTable(t *testing.T) {
	// With a profile, what cellbench needs would be listed as packages of its own.
	out, complaints, err := goCommand(t, "list", "-pgo=off", "-deps", "-json=ImportPath,Standard,Imports,Deps", "./...")
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, complaints)
	}
	all, err := DecodePackages(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, p := range all {
		if _, ok := inModule(p.ImportPath); ok {
			ours++
		}
	}
	if ours == 0 {
		t.Fatal("go list named no package of the product, so nothing was checked")
	}
	for _, f := range CheckImports(all) {
		t.Error(f)
	}
}

// TestAnalysers runs the analysers over all packages, with the build tags under
// which the tests run.
func TestAnalysers(t *testing.T) {
	if testing.Short() {
		t.Skip("slow; without -short this runs go vet and staticcheck")
	}
	for name, args := range map[string][]string{
		"vet":                   {"vet", "./..."},
		"vet with invariants":   {"vet", "-tags", "invariants", "./..."},
		"staticcheck":           {"tool", "-modfile=tools/go.mod", "staticcheck", "./..."},
		"staticcheck, with tag": {"tool", "-modfile=tools/go.mod", "staticcheck", "-tags", "invariants", "./..."},
	} {
		t.Run(name, func(t *testing.T) {
			if out, complaints, err := goCommand(t, args...); err != nil {
				t.Errorf("go %v: %v\n%s%s", args, err, out, complaints)
			}
		})
	}
}
