package gosrc

import (
	"go/ast"
	goconst "go/constant"
	"go/token"
	"slices"
	"strings"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/gogen"
	"github.com/cell-runtime/cell/schema"
)

// kinds are Go's types of fixed size, by name.
var kinds = map[string]schema.Kind{
	"bool": schema.Bool,
	"int8": schema.Int8, "int16": schema.Int16, "int32": schema.Int32, "int64": schema.Int64,
	"uint8": schema.Uint8, "uint16": schema.Uint16, "uint32": schema.Uint32, "uint64": schema.Uint64,
	"byte": schema.Uint8, "rune": schema.Int32,
	"float32": schema.Float32, "float64": schema.Float64, "string": schema.String,
}

// instead says what to write instead of Go's other predeclared types.
var instead = map[string]string{
	"int":        "its size depends on the processor: write int64 or int32",
	"uint":       "its size depends on the processor: write uint64 or uint32",
	"uintptr":    "an address means nothing elsewhere: write uint64",
	"complex64":  "write a struct of two float32",
	"complex128": "write a struct of two float64",
	"any":        "the receiver must know what it gets: write a union, a struct marked //cell:union with one pointer field for each alternative",
	"error":      "methods return errors beside their reply; in a message write a string or an enum",
	"comparable": "write the type itself",
}

// imported says what to write instead of well-known types of other packages.
var imported = map[string]string{
	"time.Time":       "write an int64 with a unit, such as // unit: ns since 1970",
	"time.Duration":   "write an int64 with a unit, such as // unit: ns",
	"net.IP":          "write a [16]byte",
	"netip.Addr":      "write a [16]byte",
	"big.Int":         "write []byte",
	"json.RawMessage": "write []byte",
}

// typeOf returns the type that expr says, nil when it was refused.
func (s *source) typeOf(expr ast.Expr) *schema.Type {
	switch expr := expr.(type) {
	case *ast.ParenExpr:
		return s.typeOf(expr.X)
	case *ast.Ident:
		return s.identType(expr)
	case *ast.StarExpr:
		return s.optional(expr)
	case *ast.ArrayType:
		return s.list(expr)
	case *ast.SelectorExpr:
		s.refuseImported(expr)
	case *ast.MapType:
		s.refuse(expr.Pos(), "a map has no order and so no layout: write a slice of structs with key and value")
	case *ast.ChanType:
		s.refuse(expr.Pos(), "a channel can't travel: write a stream, rpc.Sender[T] or rpc.Receiver[T], among the method's parameters")
	case *ast.FuncType:
		s.refuse(expr.Pos(), "a function can't travel: write a method of the service, or a stream")
	case *ast.InterfaceType:
		s.refuse(expr.Pos(), "%s", "an interface hides what travels: "+instead["any"])
	case *ast.StructType:
		s.refuse(expr.Pos(), "a struct needs a name: declare it as a type and write that")
	case *ast.IndexExpr, *ast.IndexListExpr:
		s.refuse(expr.Pos(), "a generic type has no layout of its own: declare a struct with the types filled in")
	default:
		s.refuse(expr.Pos(), "not a type that can travel")
	}
	return nil
}

func (s *source) identType(name *ast.Ident) *schema.Type {
	if d := s.specs[name.Name]; d != nil {
		return s.named(d, name.Pos())
	}
	if kind, ok := kinds[name.Name]; ok {
		return &schema.Type{Kind: kind}
	}
	if what, ok := instead[name.Name]; ok {
		s.refuse(name.Pos(), "%s can't be in a message: %s", name.Name, what)
		return nil
	}
	s.refuse(name.Pos(), "%s is not declared in this package (files that cellgen wrote and tests don't count)", name.Name)
	return nil
}

// optional makes an optional of a pointer.
func (s *source) optional(expr *ast.StarExpr) *schema.Type {
	if _, ok := ast.Unparen(expr.X).(*ast.StarExpr); ok {
		s.refuse(expr.Pos(), "a pointer to a pointer: a single one says already that there may be no value")
		return nil
	}
	elem := s.typeOf(expr.X)
	if elem == nil {
		return nil
	}
	if elem.Kind == schema.Union {
		s.refuse(expr.Pos(), "a pointer to union %s: a union can be none of its alternatives already, write %s without *", elem.Name, elem.Name)
		return nil
	}
	return &schema.Type{Kind: schema.Optional, Elem: elem}
}

// list makes bytes, a slice or an array.
func (s *source) list(expr *ast.ArrayType) *schema.Type {
	elem := s.typeOf(expr.Elt)
	if elem == nil {
		return nil
	}
	if expr.Len == nil {
		if elem.Kind == schema.Uint8 {
			return &schema.Type{Kind: schema.Bytes}
		}
		return &schema.Type{Kind: schema.Slice, Elem: elem}
	}
	value := s.info.Types[expr.Len].Value
	if value == nil {
		s.refuse(expr.Len.Pos(), "the array's length is not a constant that can be computed here: write a number, or a constant of this package")
		return nil
	}
	n, exact := goconst.Int64Val(goconst.ToInt(value))
	if !exact || n < 1 || n > schema.MaxBlock {
		s.refuse(expr.Len.Pos(), "an array of %v elements: it must have at least 1 and at most %d; write a slice for what is larger", value, schema.MaxBlock)
		return nil
	}
	return &schema.Type{Kind: schema.Array, Elem: elem, Len: int(n)}
}

func (s *source) refuseImported(expr *ast.SelectorExpr) {
	name := expr.Sel.Name
	if pkg, ok := expr.X.(*ast.Ident); ok {
		name = pkg.Name + "." + name
	}
	if what, ok := imported[name]; ok {
		s.refuse(expr.Pos(), "%s can't be in a message: %s", name, what)
		return
	}
	s.refuse(expr.Pos(), "%s is declared in another package: declare the type in this one", name)
}

// named returns the schema's type for a type of the package that is used at
// pos.
func (s *source) named(d *declaration, pos token.Pos) *schema.Type {
	spec := d.spec
	name := spec.Name.Name
	if spec.Assign.IsValid() { // an alias
		if slices.Contains(s.active, name) {
			s.refuse(pos, "%s is an alias of itself", name)
			return nil
		}
		s.active = append(s.active, name)
		defer func() { s.active = s.active[:len(s.active)-1] }()
		return s.typeOf(spec.Type)
	}
	if t, ok := s.done[name]; ok {
		return t
	}
	if at := slices.Index(s.active, name); at >= 0 {
		s.refuse(pos, "%s → %s: a type can't contain itself: keep the parts in one slice and refer to them by index", strings.Join(s.active[at:], " → "), name)
		return nil
	}
	if spec.TypeParams != nil {
		s.refuse(pos, "%s is generic, so it has no layout: declare a struct with the types filled in", name)
		return nil
	}
	s.active = append(s.active, name)
	t := s.declare(d, pos)
	s.active = s.active[:len(s.active)-1]
	s.done[name] = t
	if t != nil {
		s.goName(spec.Name)
		s.places[name] = spec.Pos()
		s.schema.Types = append(s.schema.Types, t)
	}
	return t
}

func (s *source) declare(d *declaration, pos token.Pos) *schema.Type {
	name := d.spec.Name.Name
	if structure, ok := d.spec.Type.(*ast.StructType); ok {
		return s.structure(d, structure)
	}
	under := s.underlying(d.spec.Type)
	if kind := kinds[under]; kind.Integer() {
		return s.enum(d, kind)
	}
	switch _, isBasic := kinds[under]; {
	case isBasic:
		s.refuse(pos, "%s is a %s by another name, which a description can't say: write %s (with a comment // unit: … if it counts something)", name, under, under)
	case instead[under] != "":
		s.refuse(d.spec.Type.Pos(), "%s can't be in a message: %s", under, instead[under])
	case under != "":
		s.refuse(pos, "%s is another name for %s: write %s here, or make it an alias (type %s = %s)", name, under, under, name, under)
	default:
		s.typeOf(d.spec.Type) // refuses what can't travel at all
		s.refuse(pos, "%s is a list or pointer by another name, which a description can't say: write the type itself, or make it an alias (type %s = …)", name, name)
	}
	return nil
}

// underlying returns the name of the type at the end of a chain of
// declarations such as type Side uint8.
func (s *source) underlying(expr ast.Expr) string {
	name, ok := ast.Unparen(expr).(*ast.Ident)
	if !ok {
		return ""
	}
	return name.Name
}

// structure makes a struct, or a union where the declaration is marked.
func (s *source) structure(d *declaration, expr *ast.StructType) *schema.Type {
	t := &schema.Type{Kind: schema.Struct, Name: d.spec.Name.Name, Doc: text(d.doc)}
	if s.directives(d.doc, "union", "service")["union"] {
		t.Kind = schema.Union
	}
	good := true
	for _, f := range expr.Fields.List {
		doc, unit := s.fieldDoc(f)
		if len(f.Names) == 0 {
			s.refuse(f.Pos(), "%s embeds a type: give the field a name", t.Name)
			good = false
		}
		for _, name := range f.Names {
			if !name.IsExported() {
				s.refuse(name.Pos(), "%s.%s can't be reached from generated code of other packages: export it, or leave it out", t.Name, name.Name)
				good = false
				continue
			}
			of := s.fieldType(t, f, name)
			if of == nil || !s.goName(name) {
				good = false
				continue
			}
			s.places[t.Name+"."+name.Name] = name.Pos()
			t.Fields = append(t.Fields, schema.Field{Name: name.Name, Type: of, Unit: unit, Doc: doc})
		}
	}
	if !good {
		return nil
	}
	return t
}

// fieldType returns the type of a field; alternatives of unions are pointers.
func (s *source) fieldType(t *schema.Type, f *ast.Field, name *ast.Ident) *schema.Type {
	if t.Kind != schema.Union {
		return s.typeOf(f.Type)
	}
	star, ok := ast.Unparen(f.Type).(*ast.StarExpr)
	if !ok {
		s.refuse(f.Type.Pos(), "%s.%s is an alternative of a union, of which at most one is there: make it a pointer", t.Name, name.Name)
		return nil
	}
	return s.typeOf(star.X)
}

// goName refuses names that the generator would write differently, so that
// what it writes fits what is there.
func (s *source) goName(name *ast.Ident) bool {
	if want := gogen.GoName(name.Name); want != name.Name {
		s.refuse(name.Pos(), "the name %s: write %s, as generated code does", name.Name, want)
		return false
	}
	return true
}
