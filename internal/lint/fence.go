package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"strings"
)

// CheckFence holds unsafe code to files whose names say so, where whoever
// reviews memory safety looks: the package unsafe and linkname directives stand
// only in *_unsafe.go (in tests *_unsafe_test.go). cgo stands nowhere.
func CheckFence(tree fs.FS) ([]Finding, error) {
	return eachGoFile(tree, func(name string, set *token.FileSet, file *ast.File, _ []byte) []Finding {
		fenced := strings.HasSuffix(name, "_unsafe.go") || strings.HasSuffix(name, "_unsafe_test.go")
		var found []Finding
		add := func(pos token.Pos, what string) {
			found = append(found, Finding{Path: name, Line: set.Position(pos).Line, What: what})
		}
		for _, spec := range file.Imports {
			switch {
			case spec.Path.Value == `"C"`:
				add(spec.Pos(), "imports C: the product is built without cgo; C for comparison lives in perf")
			case spec.Path.Value == `"unsafe"` && !fenced:
				add(spec.Pos(), "imports unsafe: move what needs it to a file named *_unsafe.go, behind a safe function")
			}
		}
		for _, group := range file.Comments {
			for _, comment := range group.List {
				if strings.HasPrefix(comment.Text, "//go:linkname ") && !fenced {
					add(comment.Pos(), "go:linkname outside a file named *_unsafe.go")
				}
			}
		}
		return found
	})
}

// eachGoFile parses every Go file of the tree and collects what check finds.
func eachGoFile(tree fs.FS, check func(name string, set *token.FileSet, file *ast.File, source []byte) []Finding) ([]Finding, error) {
	names, err := Files(tree, ".go")
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, name := range names {
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return nil, err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("not a Go file: %w", err)
		}
		found = append(found, check(name, set, file, source)...)
	}
	return found, nil
}
