package gogen

import (
	"fmt"

	"github.com/cell-runtime/cell/schema"
)

// cut returns the expression for n bytes of p from offset from on, and whole
// the same with its capacity cut too, so that nobody appends to what follows.
func cut(p string, from, n int) string   { return fmt.Sprintf("%s[%d:%d]", p, from, from+n) }
func whole(p string, from, n int) string { return fmt.Sprintf("%s[%d:%d:%d]", p, from, from+n, from+n) }

// loadNumber returns the expression that loads a scalar or enum from p.
func loadNumber(t *schema.Type, p string, at int) string {
	kind := t.Kind
	if kind == schema.Enum {
		kind = t.Elem.Kind
	}
	n := kind.ScalarSize()
	if kind == schema.Bool {
		return fmt.Sprintf("%s[%d] != 0", p, at)
	}
	bits := fmt.Sprintf("%s[%d]", p, at)
	if n > 1 {
		bits = fmt.Sprintf("binary.LittleEndian.Uint%d(%s)", 8*n, cut(p, at, n))
	}
	switch {
	case t.Kind == schema.Float32, t.Kind == schema.Float64:
		return fmt.Sprintf("math.Float%dfrombits(%s)", 8*n, bits)
	case t.Kind == schema.Enum, t.Kind.Signed():
		return goType(t) + "(" + bits + ")"
	}
	return bits
}

// storeNumber returns the statement that stores x as a scalar or enum in p.
func storeNumber(t *schema.Type, p string, at int, x string) string {
	kind := t.Kind
	if kind == schema.Enum {
		kind = t.Elem.Kind
	}
	n := kind.ScalarSize()
	switch {
	case kind == schema.Bool:
		x = "view.Bit(" + x + ")"
	case kind == schema.Float32, kind == schema.Float64:
		x = fmt.Sprintf("math.Float%dbits(%s)", 8*n, x)
	case t.Kind == schema.Enum, kind.Signed():
		x = fmt.Sprintf("uint%d(%s)", 8*n, x)
	}
	if n == 1 {
		return fmt.Sprintf("%s[%d] = %s", p, at, x)
	}
	return fmt.Sprintf("binary.LittleEndian.PutUint%d(%s, %s)", 8*n, cut(p, at, n), x)
}

// inView returns the type by which a view hands out a value of layout l at an
// offset of the block p, and the expression for it. name is for the types of
// lists that have none of their own. Optionals are the caller's to open.
func (g *generator) inView(l *schema.Layout, p string, at int, name string) (typ, expr string) {
	t := l.Type
	switch {
	case textual(t):
		return "[]byte", fmt.Sprintf("view.Text(v.msg, %s)", cut(p, at, l.Size))
	case composite(t):
		f := placeForm(l)
		msg := ""
		if !l.Fixed {
			msg = ", v.msg"
		}
		return f.view, fmt.Sprintf("%s{v.lease, (*[%s]byte)(%s)%s}", f.view, f.block, cut(p, at, l.Size), msg)
	case t.Kind == schema.Array:
		return g.listView(l.Elem, whole(p, at, l.Size), name)
	case t.Kind == schema.Slice:
		return g.listView(l.Elem, fmt.Sprintf("view.Elements(v.msg, %s, %d)", cut(p, at, l.Size), l.Elem.Size), name)
	}
	return goType(t), loadNumber(t, p, at)
}

// listView returns the type of a list in place of elements e, and the
// expression for the one that consists of the bytes b.
func (g *generator) listView(e *schema.Layout, b, name string) (typ, expr string) {
	t := e.Type
	msg := ""
	if !e.Fixed {
		msg = ", v.msg"
	}
	switch {
	case t.Kind == schema.Uint8:
		return "[]byte", b
	case t.Kind == schema.Bool:
		return "view.Bools", fmt.Sprintf("view.BoolsOver(%s, v.lease)", b)
	case numeric(t):
		return fmt.Sprintf("view.Slice[%s]", goType(t)), fmt.Sprintf("view.SliceOver[%s](%s, v.lease)", goType(t), b)
	case textual(t):
		return "view.Texts", fmt.Sprintf("view.TextsOver(v.msg, %s, v.lease)", b)
	case composite(t):
		typ = placeForm(e).view + "s"
	default:
		typ = name + "List"
		g.needList(typ, e)
	}
	return typ, fmt.Sprintf("%s{v.lease, %s%s}", typ, b, msg)
}

// inBuilder is listView and inView for builders: for what lies in place and
// has no value of its own.
func (g *generator) inBuilder(l *schema.Layout, p string, at int, name string) (typ, expr string) {
	if l.Type.Kind == schema.Array {
		return g.listBuilder(l.Elem, whole(p, at, l.Size), name)
	}
	f := placeForm(l)
	arena := ""
	if !l.Fixed {
		arena = ", b.a"
	}
	return f.builder, fmt.Sprintf("%s{b.lease, (*[%s]byte)(%s)%s}", f.builder, f.block, cut(p, at, l.Size), arena)
}

func (g *generator) listBuilder(e *schema.Layout, b, name string) (typ, expr string) {
	t := e.Type
	arena := ""
	if !e.Fixed {
		arena = ", b.a"
	}
	switch {
	case t.Kind == schema.Uint8:
		return "[]byte", b
	case t.Kind == schema.Bool:
		return "view.BoolsBuilder", fmt.Sprintf("view.BuildBools(%s, b.lease)", b)
	case numeric(t):
		return fmt.Sprintf("view.SliceBuilder[%s]", goType(t)), fmt.Sprintf("view.BuildSlice[%s](%s, b.lease)", goType(t), b)
	case textual(t):
		return "view.TextsBuilder", fmt.Sprintf("view.BuildTexts(b.a, %s, b.lease)", b)
	case composite(t):
		typ = placeForm(e).builder + "s"
	default:
		typ = name + "ListBuilder"
		g.needList(name+"List", e)
	}
	return typ, fmt.Sprintf("%s{b.lease, %s%s}", typ, b, arena)
}

// list is a type of lists that is generated because its elements have no named
// type that could lend its name.
type list struct {
	name string
	elem *schema.Layout
}

func (g *generator) needList(name string, elem *schema.Layout) {
	if g.listed[name] {
		return
	}
	g.listed[name] = true
	g.claim(name, "a list within "+name[:len(name)-len("List")])
	g.lists = append(g.lists, list{name, elem})
}
