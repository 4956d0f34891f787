package gogen

import (
	"fmt"
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// codec writes the methods by which a Go struct becomes a message and comes
// out of one.
func (g *generator) codec(root, inPlace *schema.Layout) {
	t := root.Type
	name, u := GoName(t.Name), g.uses[t]
	asMessage := u.message || root.Fixed
	if asMessage {
		g.messageMethods(root, name)
		g.jsonMethods(root, name)
	}
	if !root.Fixed {
		g.comment("", "sizeCell returns the length of a message that has n bytes before the parts of t are added.")
		g.p("func (t *%s) sizeCell(n int) int {", name)
		for i, field := range t.Fields {
			g.size(root.Fields[i], "t."+GoName(field.Name))
		}
		g.p("\treturn n\n}\n")
	}
	if asMessage {
		g.transfer(root, rootForm(t), name)
	}
	if u.inPlace && !root.Fixed {
		g.transfer(inPlace, placeForm(inPlace), name)
	}
}

// messageMethods writes the methods that rpc.Encoder and rpc.Decoder want.
func (g *generator) messageMethods(l *schema.Layout, name string) {
	f := rootForm(l.Type)
	size, begin := f.block, fmt.Sprintf("\tw, err := Build%s(b)", name)
	if !l.Fixed {
		size = fmt.Sprintf("t.sizeCell(%s)", f.block)
		begin = fmt.Sprintf("\tvar a view.Arena\n\tw, err := Build%s(b, &a)", name)
	}
	g.p("// SizeCell returns the length in bytes of t as a message.")
	g.p("func (t %s) SizeCell() int { return %s }\n", name, size)
	g.p("// EncodeCell writes t as a message to the front of b, which has SizeCell bytes or\n// more, and returns its length. The error wraps view.ErrSpace.")
	g.p("func (t %s) EncodeCell(b []byte) (int, error) {\n%s\n\tif err != nil {\n\t\treturn 0, err\n\t}", name, begin)
	g.p("\tt.putCell(w)\n\treturn w.Finish()\n}\n")

	if l.Fixed {
		g.p("// DecodeCell sets t to the message b, of which it keeps nothing. Fields that the\n// sender did not know are zero.")
		g.p("func (t *%s) DecodeCell(b []byte) error {\n\t*t = %s{}\n\tt.getCell(View%s(b))\n\treturn nil\n}\n", name, name, name)
		return
	}
	g.p("// DecodeCell sets t to the message b, of which it keeps nothing. Fields that the\n// sender did not know are zero. The error wraps one of those of package view.")
	g.p("func (t *%s) DecodeCell(b []byte) error { return t.decodeCell(b, 0) }\n", name)
	g.comment("", "decodeCell is DecodeCell for a message whose block has minimum bytes or more.")
	g.p("func (t *%s) decodeCell(b []byte, minimum int) error {\n\t*t = %s{}", name, name)
	g.p("\tif err := Check%s(b, minimum); err != nil {\n\t\treturn err\n\t}", name)
	g.p("\td := view.NewBudget(len(b))\n\tt.getCell(View%s(b), &d)\n\treturn d.Err()\n}\n", name)
}

// transfer writes the methods that put a struct into a builder of the given
// form, and get it out of a view.
func (g *generator) transfer(l *schema.Layout, f form, name string) {
	g.p("func (t *%s) putCell%s(b %s) {", name, f.role, f.builder)
	for i, field := range l.Type.Fields {
		g.put(l.Fields[i], "t."+GoName(field.Name), target{builder: "b", field: GoName(field.Name)}, local(field.Name))
	}
	g.p("}\n")
	budget := ""
	if !l.Fixed {
		budget = ", d *view.Budget"
	}
	g.p("func (t *%s) getCell%s(v %s%s) {", name, f.role, f.view, budget)
	for i, field := range l.Type.Fields {
		g.get(l.Fields[i], "t."+GoName(field.Name), fmt.Sprintf("v.%s()", accessor(field.Name)), local(field.Name))
	}
	g.p("}\n")
}

// structCopy writes the methods by which a view becomes a struct and text.
func (g *generator) structCopy(l *schema.Layout, f form, name string) {
	g.comment("", "Struct returns a copy, which outlives the message.")
	if l.Fixed {
		g.p("func (v %s) Struct() (t %s) {\n\tt.getCell(v)\n\treturn t\n}\n", f.view, name)
	} else {
		g.p("func (v %s) Struct() (t %s) {\n\td := view.NewBudget(len(v.msg))\n\tt.getCell%s(v, &d)\n\treturn t\n}\n", f.view, name, f.role)
	}
	if f.role != "" {
		return
	}
	g.comment("", "MarshalJSON returns the message as JSON, as docs/SCHEMA.md describes it.")
	g.p("func (v %s) MarshalJSON() ([]byte, error) {\n\tt := v.Struct()\n\treturn t.jsonCell()\n}\n", f.view)
	g.comment("", "String returns the message as JSON, for people.")
	g.p("func (v %s) String() string {\n\ttext, err := v.MarshalJSON()\n\tif err != nil {\n\t\treturn err.Error()\n\t}\n\treturn string(text)\n}\n", f.view)
}

// deref returns the expression for what the pointer expr points to, as the
// code for type t needs it: methods find their way through pointers.
func deref(t *schema.Type, expr string) string {
	switch {
	case composite(t):
		return expr
	case t.Kind == schema.Array, t.Kind == schema.Slice:
		return "(*" + expr + ")"
	}
	return "*" + expr
}

// target is where put writes to: a field of a builder or an element of one.
type target struct {
	builder, field, index string
}

func (t target) call(method string, args ...string) string {
	if t.index != "" {
		args = append([]string{t.index}, args...)
	}
	list := ""
	for i, arg := range args {
		if i > 0 {
			list += ", "
		}
		list += arg
	}
	return fmt.Sprintf("%s.%s(%s)", t.builder, method, list)
}

func (t target) set(x string) string  { return t.call("Set"+t.field, x) }
func (t target) make(n string) string { return t.call("Make"+t.field, n) }
func (t target) at() string           { return t.call(inPlace(t.field)) }

// local returns the name of the local variable for the list in a field; names
// of others begin with it. No word of Go and no package has such a name.
func local(field string) string {
	name := GoName(field)
	return strings.ToLower(name[:1]) + name[1:] + "List"
}

// put writes the lines that put the Go value x of layout l into a builder.
func (g *generator) put(l *schema.Layout, x string, to target, list string) {
	t := l.Type
	i := list + "I"
	elements := func(begin string) {
		g.p("\t%s := %s", list, begin)
		g.p("\tfor %s := range %s {", i, x)
		g.put(l.Elem, fmt.Sprintf("%s[%s]", x, i), target{builder: list, index: i}, list+"Of")
		g.p("\t}")
	}
	switch {
	case t.Kind == schema.Optional:
		g.p("\tif %s != nil {", x)
		g.put(l.Elem, deref(l.Elem.Type, x), to, list)
		g.p("\t}")
	case composite(t):
		g.p("\t%s.putCell%s(%s)", x, placeForm(l).role, to.at())
	case t.Kind == schema.Array && t.Elem.Kind == schema.Uint8:
		g.p("\tcopy(%s, %s[:])", to.at(), x)
	case t.Kind == schema.Array && (numeric(t.Elem) || t.Elem.Kind == schema.Bool):
		g.p("\t%s.CopyFrom(%s[:])", to.at(), x)
	case t.Kind == schema.Array && textual(t.Elem):
		g.p("\tview.CopyTexts(%s, %s[:])", to.at(), x)
	case t.Kind == schema.Array:
		elements(to.at())
	case t.Kind == schema.Slice && !numeric(t.Elem) && !textual(t.Elem) && t.Elem.Kind != schema.Bool:
		elements(to.make("len(" + x + ")"))
	default:
		g.p("\t%s", to.set(x))
	}
}

// get writes the lines that set the Go value x of layout l to what the
// expression from reads.
func (g *generator) get(l *schema.Layout, x, from, list string) {
	t := l.Type
	i, y := list+"I", list+"X"
	elements := func() {
		g.p("\tfor %s := range %s {", i, x)
		g.get(l.Elem, fmt.Sprintf("%s[%s]", x, i), fmt.Sprintf("%s.At(%s)", list, i), list+"Of")
		g.p("\t}")
	}
	budget := ""
	if !l.Fixed {
		budget = ", d"
	}
	switch {
	case t.Kind == schema.Optional:
		g.p("\tif %s, ok := %s; ok {", y, from)
		g.p("\t\t%s = new(%s)", x, goType(l.Elem.Type))
		g.get(l.Elem, deref(l.Elem.Type, x), y, list)
		g.p("\t}")
	case composite(t):
		g.p("\t%s.getCell%s(%s%s)", x, placeForm(l).role, from, budget)
	case t.Kind == schema.String:
		g.p("\t%s = d.CopyString(%s)", x, from)
	case t.Kind == schema.Bytes:
		g.p("\t%s = d.CopyBytes(%s)", x, from)
	case t.Kind == schema.Array && t.Elem.Kind == schema.Uint8:
		g.p("\tcopy(%s[:], %s)", x, from)
	case t.Kind == schema.Array && (numeric(t.Elem) || t.Elem.Kind == schema.Bool):
		g.p("\t%s.CopyTo(%s[:])", from, x)
	case t.Kind == schema.Array:
		g.p("\t%s := %s", list, from)
		elements()
	case t.Kind == schema.Slice && numeric(t.Elem):
		g.p("\t%s = view.CopySlice(d, %s)", x, from)
	case t.Kind == schema.Slice && t.Elem.Kind == schema.Bool:
		g.p("\t%s = d.CopyBools(%s)", x, from)
	case t.Kind == schema.Slice:
		g.p("\t%s := %s", list, from)
		g.p("\t%s = view.MakeSlice[%s](d, %s.Len(), %d)", x, goType(t.Elem), list, l.Elem.Size)
		elements()
	default:
		g.p("\t%s = %s", x, from)
	}
}

// size writes the lines that add the variable parts of the Go value x to n, in
// the order in which put makes them.
func (g *generator) size(l *schema.Layout, x string) {
	if l.Fixed {
		return
	}
	t := l.Type
	switch {
	case textual(t):
		g.p("\tn = view.Grow(n, len(%s), 1, 1)", x)
	case composite(t):
		g.p("\tn = %s.sizeCell(n)", x)
	case t.Kind == schema.Optional:
		g.p("\tif %s != nil {", x)
		g.size(l.Elem, deref(l.Elem.Type, x))
		g.p("\t}")
	default:
		if t.Kind == schema.Slice {
			g.p("\tn = view.Grow(n, len(%s), %d, %d)", x, l.Elem.Size, l.Elem.Align)
		}
		if l.Elem.Fixed {
			return
		}
		i := fmt.Sprintf("i%d", l.Depth)
		g.p("\tfor %s := range %s {", i, x)
		g.size(l.Elem, fmt.Sprintf("%s[%s]", x, i))
		g.p("\t}")
	}
}

// unionCodec writes the methods of a union's Go struct.
func (g *generator) unionCodec(l *schema.Layout, f form, name, tag string) {
	g.unionCheck(l, f, tag)
	budget, pass := "", ""
	if !l.Fixed {
		budget, pass = ", d *view.Budget", ", &d"
		g.p("func (t *%s) sizeCell(n int) int {\n\tswitch {", name)
		for i, field := range l.Type.Fields {
			x := "t." + GoName(field.Name)
			g.p("\tcase %s != nil:", x)
			g.size(l.Fields[i], deref(field.Type, x))
		}
		g.p("\t}\n\treturn n\n}\n")
	}
	g.comment("", "putCell writes the first alternative that is there.")
	g.p("func (t *%s) putCell(b %s) {\n\tswitch {", name, f.builder)
	for i, field := range l.Type.Fields {
		x := "t." + GoName(field.Name)
		g.p("\tcase %s != nil:", x)
		g.put(l.Fields[i], deref(field.Type, x), target{builder: "b", field: GoName(field.Name)}, local(field.Name))
	}
	g.p("\t}\n}\n")

	g.p("func (t *%s) getCell(v %s%s) {\n\tswitch v.Tag() {", name, f.view, budget)
	for i, field := range l.Type.Fields {
		x := "t." + GoName(field.Name)
		g.p("\tcase %s%s:\n\t\tx, _ := v.%s()\n\t\t%s = new(%s)", tag, GoName(field.Name), accessor(field.Name), x, goType(field.Type))
		g.get(l.Fields[i], deref(field.Type, x), "x", local(field.Name))
	}
	g.p("\t}\n}\n")
	g.comment("", "Struct returns a copy, which outlives the message.")
	if l.Fixed {
		g.p("func (v %s) Struct() (t %s) {\n\tt.getCell(v)\n\treturn t\n}\n", f.view, name)
	} else {
		g.p("func (v %s) Struct() (t %s) {\n\td := view.NewBudget(len(v.msg))\n\tt.getCell(v%s)\n\treturn t\n}\n", f.view, name, pass)
	}
}
