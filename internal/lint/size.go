package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/token"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// The limits of docs/STYLE.md, in lines. They ask a question (what does this
// really contain?); an exception is an answer with its reason.
const (
	MaxFileLines     = 500
	MaxFunctionLines = 70
)

// CheckSize holds files and functions to the limits, tests and generated files
// apart. allowed maps "path" or "path:Function" (a method is Type.Method) to
// the reason why this one may be longer; an exception that nothing needs any
// more is a finding, too.
func CheckSize(tree fs.FS, allowed map[string]string) ([]Finding, error) {
	unused := maps.Clone(allowed)
	excused := func(key string) bool {
		delete(unused, key)
		return allowed[key] != ""
	}
	found, err := eachGoFile(tree, func(name string, set *token.FileSet, file *ast.File, source []byte) []Finding {
		if strings.HasSuffix(name, "_test.go") || IsGenerated(source) {
			return nil
		}
		var found []Finding
		if n := bytes.Count(source, []byte("\n")); n > MaxFileLines && !excused(name) {
			found = append(found, Finding{Path: name, What: fmt.Sprintf(
				"%d lines, above %d: which second concept does it contain?", n, MaxFileLines)})
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			from, to := set.Position(f.Pos()).Line, set.Position(f.End()).Line
			if n := to - from + 1; n > MaxFunctionLines && !excused(name+":"+functionName(f)) {
				found = append(found, Finding{Path: name, Line: from, What: fmt.Sprintf(
					"%s has %d lines, above %d: split it", functionName(f), n, MaxFunctionLines)})
			}
		}
		return found
	})
	for _, key := range slices.Sorted(maps.Keys(unused)) {
		found = append(found, Finding{Path: key, What: "is on the list of exceptions and needs none: take it off"})
	}
	return found, err
}

// functionName returns Function, or Type.Method.
func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	receiver := f.Recv.List[0].Type
	for {
		switch t := receiver.(type) {
		case *ast.StarExpr:
			receiver = t.X
		case *ast.IndexExpr:
			receiver = t.X
		case *ast.IndexListExpr:
			receiver = t.X
		case *ast.Ident:
			return t.Name + "." + f.Name.Name
		default:
			return f.Name.Name
		}
	}
}

// vague are names that say nothing about what a package contains, and so
// attract everything.
var vague = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "base"}

// CheckNames refuses packages with vague names.
func CheckNames(tree fs.FS) ([]Finding, error) {
	return eachGoFile(tree, func(name string, set *token.FileSet, file *ast.File, _ []byte) []Finding {
		if !slices.Contains(vague, strings.TrimSuffix(file.Name.Name, "_test")) {
			return nil
		}
		return []Finding{{Path: name, Line: set.Position(file.Name.Pos()).Line,
			What: "package " + file.Name.Name + ": name it for what it contains"}}
	})
}

// CheckFormat finds files that gofmt would change.
func CheckFormat(tree fs.FS) ([]Finding, error) {
	return eachGoFile(tree, func(name string, _ *token.FileSet, _ *ast.File, source []byte) []Finding {
		if formatted, err := format.Source(source); err == nil && bytes.Equal(formatted, source) {
			return nil
		}
		return []Finding{{Path: name, What: "is not as gofmt would have it: run gofmt -w on it"}}
	})
}
