package wire_test

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/cell-runtime/cell/wire"
)

// exported returns the exported constants of package wire by the name of
// their type, each under its own name without the prefix, in snake case:
// exported["Kind"]["stream_item"] = 5. They are read from the source, so that
// a constant added tomorrow is found too.
func exported(t *testing.T) (constants map[string]map[string]uint8, sentinels []string) {
	t.Helper()
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range []string{"header.go", "prefix.go", "status.go", "names.go"} {
		f, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	// Imports are left unresolved: constants don't depend on them.
	conf := types.Config{Error: func(error) {}, Importer: noImports{}}
	pkg, _ := conf.Check("wire", set, files, nil)
	constants = map[string]map[string]uint8{}
	for _, name := range pkg.Scope().Names() {
		if _, ok := pkg.Scope().Lookup(name).(*types.Var); ok && strings.HasPrefix(name, "Err") {
			sentinels = append(sentinels, name)
		}
		c, ok := pkg.Scope().Lookup(name).(*types.Const)
		if !ok || !c.Exported() {
			continue
		}
		named, ok := c.Type().(*types.Named)
		if !ok {
			continue
		}
		typ := named.Obj().Name()
		if constants[typ] == nil {
			constants[typ] = map[string]uint8{}
		}
		value, _ := constant.Uint64Val(c.Val())
		constants[typ][snake(strings.TrimPrefix(name, prefixes[typ]))] = uint8(value)
	}
	return constants, sentinels
}

var prefixes = map[string]string{"Kind": "Kind", "Flags": "Flag", "Channel": "Channel", "Status": "Status"}

type noImports struct{}

func (noImports) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, path)
	p.MarkComplete()
	return p, nil
}

func snake(name string) string {
	if name == "OK" {
		return "ok"
	}
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// A kind, flag, channel, status or refusal without a vector is one that other
// implementations can't be held to.
func TestEveryConstantHasAGoldenVector(t *testing.T) {
	g := loadGolden(t)
	constants, sentinels := exported(t)
	for typ, table := range map[string]map[string]uint8{
		"Kind": g.Kinds, "Flags": g.Flags, "Channel": g.Channels, "Status": g.Statuses,
	} {
		if len(table) == 0 || !maps.Equal(table, constants[typ]) {
			t.Errorf("%s: the file's table is %v, the code's constants are %v", typ, table, constants[typ])
		}
	}

	kinds, flags, channels, statuses := map[wire.Kind]bool{}, wire.Flags(0), map[wire.Channel]bool{}, map[wire.Status]bool{}
	priorities := map[uint8]bool{}
	for _, h := range g.Headers {
		kinds[h.Kind], channels[h.Channel], priorities[h.Flags.Priority()] = true, true, true
		flags |= h.Flags
	}
	for _, e := range g.ErrorPayloads {
		statuses[e.Status] = true
	}
	statuses[wire.StatusOK] = true // never travels in an error
	for name, v := range constants["Kind"] {
		if !kinds[wire.Kind(v)] {
			t.Errorf("kind %s has no header vector", name)
		}
		if strings.HasPrefix(wire.Kind(v).String(), "kind ") {
			t.Errorf("kind %s has no name in words", name)
		}
	}
	for name, v := range constants["Flags"] {
		if flags&wire.Flags(v) == 0 {
			t.Errorf("flag %s has no header vector", name)
		}
	}
	for name, v := range constants["Channel"] {
		if !channels[wire.Channel(v)] {
			t.Errorf("channel %s has no header vector", name)
		}
	}
	for name, v := range constants["Status"] {
		if !statuses[wire.Status(v)] {
			t.Errorf("status %s has no error vector", name)
		}
		if strings.HasPrefix(wire.Status(v).String(), "status ") {
			t.Errorf("status %s has no name in words", name)
		}
	}
	for p := range uint8(4) {
		if !priorities[p] {
			t.Errorf("priority %d has no header vector", p)
		}
	}
	used := map[string]bool{}
	for _, v := range slices.Concat(g.InvalidHeaders, g.InvalidErrorPayloads, g.InvalidFragments) {
		used[v.Reason] = true
	}
	for _, name := range sentinels {
		if !used[name] || reasons[name] == nil {
			t.Errorf("%s has no vector, or the tests don't know it", name)
		}
	}
	if len(sentinels) != len(reasons) {
		t.Errorf("sentinels in the source: %v, known to the tests: %v", sentinels, reasons)
	}
}
