package gosrc

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// GeneratedSuffix ends the names of the files that cellgen writes. They are no
// source.
const GeneratedSuffix = "_cell.go"

// Source is what a Go file says.
type Source struct {
	Schema *schema.Schema
	// Package is the name of the file's package.
	Package string
	// Declared holds what the package declares itself, outside of generated
	// files: names as "Order", methods as "Order.String". What is there
	// already is not generated.
	Declared map[string]bool
	// Changes say what became of the methods since the description that was
	// there, once somebody has found out.
	Changes []schema.Change
}

// Around returns what the Go files beside the file at path say of their
// package: its name, "" where there are none, and what it declares. Tests and
// generated files don't count.
func Around(path string) (*Source, error) {
	around := &Source{Declared: map[string]bool{}}
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return around, nil
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, _ := parser.ParseFile(token.NewFileSet(), filepath.Join(filepath.Dir(path), name), nil, parser.SkipObjectResolution)
		if file == nil {
			continue
		}
		around.Package = file.Name.Name
		if !strings.HasSuffix(name, GeneratedSuffix) {
			declared(file, around.Declared)
		}
	}
	return around, nil
}

// Load reads the services that the Go file at path declares. Types may stand
// in other files of the package too. The error is a [Problems] where the
// source says what a schema can't.
func Load(path string) (*Source, error) {
	s, err := parse(path)
	if err != nil {
		return nil, err
	}
	for _, spec := range s.services() {
		s.service(spec)
	}
	if err := s.err(); err != nil {
		return nil, err
	}
	if len(s.schema.Services) == 0 {
		s.refuse(s.main.Package, "no service: write //cell:service in the doc comment of an interface")
		return nil, s.err()
	}
	s.refuseShared()
	if err := s.err(); err != nil {
		return nil, err
	}
	s.orderTypes()
	if err := s.schema.Validate(); err != nil {
		s.place(err)
		return nil, s.err()
	}
	result := &Source{Schema: &s.schema, Package: s.main.Name.Name, Declared: map[string]bool{}}
	for _, file := range s.files {
		declared(file, result.Declared)
	}
	return result, nil
}

// source is a package while a file of it is read.
type source struct {
	set   *token.FileSet
	files []*ast.File // without tests and generated files
	main  *ast.File   // the one that was asked for
	info  types.Info
	pkg   *types.Package

	specs  map[string]*declaration // the package's types by name
	consts map[string][]*constant  // by the name of their type, in order

	schema   schema.Schema
	done     map[string]*schema.Type
	active   []string             // named types, outermost first
	places   map[string]token.Pos // of "Type", "Type.Field", "Service.Method"
	problems Problems
}

// declaration is a type's declaration and its doc comment.
type declaration struct {
	spec *ast.TypeSpec
	doc  *ast.CommentGroup
	file *ast.File
}

func parse(path string) (*source, error) {
	s := &source{
		set:    token.NewFileSet(),
		specs:  map[string]*declaration{},
		consts: map[string][]*constant{},
		done:   map[string]*schema.Type{},
		places: map[string]token.Pos{},
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	mode := parser.ParseComments | parser.SkipObjectResolution
	if s.main, err = parser.ParseFile(s.set, path, nil, mode); err != nil {
		if _, unread := errors.AsType[*fs.PathError](err); unread {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	for _, entry := range entries {
		name := entry.Name()
		full := filepath.Join(filepath.Dir(path), name)
		switch {
		case entry.IsDir(), !strings.HasSuffix(name, ".go"), strings.HasSuffix(name, "_test.go"):
			continue
		case name == filepath.Base(path):
			s.files = append(s.files, s.main)
			continue
		case strings.HasSuffix(name, GeneratedSuffix):
			continue
		}
		// A file that doesn't parse is the compiler's to complain about; it
		// may still declare what the main file needs.
		file, _ := parser.ParseFile(s.set, full, nil, mode)
		if file != nil && file.Name.Name == s.main.Name.Name {
			s.files = append(s.files, file)
		}
	}
	s.check()
	s.collect()
	return s, nil
}

// check has go/types evaluate constants. Imports are not followed, so most of
// the package may well not type-check; constants of integer types do.
func (s *source) check() {
	s.info = types.Info{
		Defs:  map[*ast.Ident]types.Object{},
		Types: map[ast.Expr]types.TypeAndValue{},
	}
	conf := types.Config{
		Importer:                 noImports{},
		Error:                    func(error) {},
		IgnoreFuncBodies:         true,
		DisableUnusedImportCheck: true,
	}
	s.pkg, _ = conf.Check(s.main.Name.Name, s.set, s.files, &s.info)
}

// noImports makes every import fail.
type noImports struct{}

func (noImports) Import(path string) (*types.Package, error) {
	return nil, errors.New("imports are not followed")
}

// collect finds the package's types and constants.
func (s *source) collect() {
	for _, file := range s.files {
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range gen.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					doc := spec.Doc
					if doc == nil && !gen.Lparen.IsValid() {
						doc = gen.Doc
					}
					s.specs[spec.Name.Name] = &declaration{spec, doc, file}
				case *ast.ValueSpec:
					if gen.Tok == token.CONST {
						s.constants(spec)
					}
				}
			}
		}
	}
}

// services returns the interfaces of the main file that are marked.
func (s *source) services() []*declaration {
	var found []*declaration
	for _, d := range s.specs {
		if d.file == s.main && s.directives(d.doc, "service", "union")["service"] {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b *declaration) int { return int(a.spec.Pos() - b.spec.Pos()) })
	return found
}

// refuseShared refuses types that services in other files of the package use
// too: for each file with services code is generated, and both would declare
// the same.
func (s *source) refuseShared() {
	for _, file := range s.files {
		if file == s.main {
			continue
		}
		other := *s
		other.main, other.schema, other.problems = file, schema.Schema{}, nil
		other.done, other.places = map[string]*schema.Type{}, map[string]token.Pos{}
		for _, spec := range other.services() {
			other.service(spec)
		}
		for _, t := range other.schema.Types {
			if s.done[t.Name] != nil {
				s.refuse(s.specs[t.Name].spec.Pos(), "%s is used by services in %s and in %s, each of which would generate its code: put these services into one file",
					t.Name, filepath.Base(s.set.Position(s.main.Pos()).Filename), filepath.Base(s.set.Position(file.Pos()).Filename))
			}
		}
	}
}

// orderTypes puts the types into the order of their declarations, those of the
// main file first.
func (s *source) orderTypes() {
	rank := func(t *schema.Type) (bool, token.Pos) {
		d := s.specs[t.Name]
		return d.file != s.main, d.spec.Pos()
	}
	slices.SortFunc(s.schema.Types, func(a, b *schema.Type) int {
		aOther, aPos := rank(a)
		bOther, bPos := rank(b)
		switch {
		case aOther == bOther:
			return int(aPos - bPos)
		case aOther:
			return 1
		}
		return -1
	})
}

// declared adds what a file declares at its top level, and its methods.
func declared(file *ast.File, all map[string]bool) {
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil {
				all[decl.Name.Name] = true
			} else if t := receiver(decl.Recv.List[0].Type); t != "" {
				all[t+"."+decl.Name.Name] = true
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					all[spec.Name.Name] = true
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						all[name.Name] = true
					}
				}
			}
		}
	}
}

// receiver returns the name of the type that a method is declared on.
func receiver(expr ast.Expr) string {
	if star, ok := expr.(*ast.StarExpr); ok {
		expr = star.X
	}
	if name, ok := expr.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// place turns an error of Validate into a problem at the line it is about.
func (s *source) place(err error) {
	what := strings.TrimPrefix(err.Error(), schema.ErrInvalid.Error()+": ")
	subject, rest, found := strings.Cut(what, ": ")
	subject = strings.TrimPrefix(strings.TrimPrefix(subject, "struct "), "service ")
	if pos, ok := s.places[subject]; ok && found {
		s.refuse(pos, "%s", rest)
		return
	}
	s.refuse(s.main.Package, "%s", what)
}
