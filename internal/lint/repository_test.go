package lint

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
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

// everything is the pattern of all packages of all modules of the workspace;
// "./..." would be those of the root's module alone.
const everything = Module + "/..."

// inRoot runs a command in the repository's root, without cgo and for amd64 so
// that every host sees the same packages, and returns its output.
func inRoot(t *testing.T, command ...string) (stdout, stderr []byte, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err = cmd.Run()
	return out.Bytes(), complaints.Bytes(), err
}

func TestImportTable(t *testing.T) {
	// With a profile, what cellbench needs would be listed as packages of its own.
	out, complaints, err := inRoot(t, "go", "list", "-pgo=off", "-deps", "-json=ImportPath,Standard,Imports,Deps", everything)
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
	staticcheck := pinned(t, "honnef.co/go/tools/cmd/staticcheck")
	tagged := withTag(t, "invariants")
	for name, command := range map[string][]string{
		"vet":                   {"go", "vet", everything},
		"vet with invariants":   append([]string{"go", "vet", "-tags", "invariants"}, tagged...),
		"staticcheck":           {staticcheck, everything},
		"staticcheck, with tag": append([]string{staticcheck, "-tags", "invariants"}, tagged...),
	} {
		t.Run(name, func(t *testing.T) {
			if out, complaints, err := inRoot(t, command...); err != nil {
				t.Errorf("%v: %v\n%s%s", command, err, out, complaints)
			}
		})
	}
}

// withTag returns the folders, "./ring" and so on, in which a file depends on a
// build tag: with it, the others are what they are without.
func withTag(t *testing.T, tag string) (folders []string) {
	t.Helper()
	depends := regexp.MustCompile(`(?m)^//go:build .*\b` + tag + `\b`)
	tree := os.DirFS(root(t))
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".go" {
			return err
		}
		text, err := fs.ReadFile(tree, name)
		if folder := "./" + path.Dir(name); depends.Match(text) && !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
		return err
	})
	if err != nil || len(folders) == 0 {
		t.Fatalf("packages with the tag %s: %v, %v", tag, folders, err)
	}
	return folders
}

// pinned builds a program at the version that tools/go.mod names. That module
// is outside the workspace, so that its needs change no version of ours.
func pinned(t *testing.T, pkg string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "-C", filepath.Join(root(t), "tools"), "build", "-o", program, pkg)
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, out)
	}
	return program
}
