package gosrc

import (
	"go/ast"
	goconst "go/constant"
	"go/types"
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// constant is a constant of one of the package's own types.
type constant struct {
	name *ast.Ident
	doc  string
	of   *types.Const
}

// constants notes the constants of a line that have a type of the package.
func (s *source) constants(spec *ast.ValueSpec) {
	for _, name := range spec.Names {
		c, ok := s.info.Defs[name].(*types.Const)
		if !ok || name.Name == "_" {
			continue
		}
		if named, ok := types.Unalias(c.Type()).(*types.Named); ok {
			of := named.Obj().Name()
			s.consts[of] = append(s.consts[of], &constant{name, text(spec.Doc, spec.Comment), c})
		}
	}
}

// enum makes an enum of a named integer with constants.
func (s *source) enum(d *declaration, integer schema.Kind) *schema.Type {
	name := d.spec.Name.Name
	t := &schema.Type{Kind: schema.Enum, Name: name, Doc: text(d.doc), Elem: &schema.Type{Kind: integer}}
	all := s.consts[name]
	if len(all) == 0 {
		s.refuse(d.spec.Pos(), "type %s has no constants, so it is no enum: declare its values in a const block, or write %v where it is used (with a comment // unit: … if it counts something)", name, integer)
		return nil
	}
	prefix := commonPrefix(name, all)
	for _, c := range all {
		value := schema.Value{Name: c.name.Name[len(prefix):], Doc: c.doc}
		number := goconst.ToInt(c.of.Val())
		if n, exact := goconst.Int64Val(number); exact {
			value.Number = n
		} else if n, exact := goconst.Uint64Val(number); exact && integer == schema.Uint64 {
			value.Number = int64(n)
		} else {
			s.refuse(c.name.Pos(), "%s has no number that fits %v", c.name.Name, integer)
			continue
		}
		s.places[name+"."+value.Name] = c.name.Pos()
		t.Values = append(t.Values, value)
	}
	return t
}

// commonPrefix returns the type's name if all constants begin with it, as in
// SideBuy and SideSell, and go on with a letter. The values of the schema go
// without it.
func commonPrefix(name string, all []*constant) string {
	for _, c := range all {
		rest, ok := strings.CutPrefix(c.name.Name, name)
		if !ok || rest == "" || !('a' <= rest[0]|0x20 && rest[0]|0x20 <= 'z') {
			return ""
		}
	}
	return name
}
