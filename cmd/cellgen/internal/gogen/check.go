package gogen

import (
	"fmt"

	"github.com/cell-runtime/cell/schema"
)

// structCheck writes what holds a struct to the rules.
func (g *generator) structCheck(l *schema.Layout, f form) {
	name := GoName(l.Type.Name)
	if f.role == "" {
		g.claim("Check"+name, "a function that checks messages")
		g.comment("", fmt.Sprintf("Check%s says whether msg is well-formed, by an error that wraps one of those of package view. minimum is the block length of the form that the sender knows: %s for today's, 0 for any.", name, f.block))
		g.p("func Check%s(msg []byte, minimum int) error {", name)
		if l.Fixed {
			g.p("\tif len(msg) < minimum {\n\t\treturn view.TooShort(%q, msg, minimum)\n\t}\n\treturn nil\n}\n", name)
			return
		}
		g.p("\tc, err := view.NewChecker(msg, minimum)")
		g.p("\tif err == nil {\n\t\terr = View%s(msg).check(&c)\n\t}", name)
		g.p("\treturn view.In(%q, err)\n}\n", name)
	}
	if l.Fixed {
		return
	}
	g.p("func (v %s) check(c *view.Checker) error {\n\tp := v.block()", f.view)
	for i, field := range l.Type.Fields {
		g.checkValue(l.Fields[i], l.Offsets[i], name+GoName(field.Name), fmt.Sprintf("view.In(%q, err)", field.Name))
	}
	g.p("\treturn nil\n}\n")
}

// checkValue writes the lines that check a value at an offset of the block p.
// failed is the expression to return when err is not nil.
func (g *generator) checkValue(l *schema.Layout, at int, list, failed string) {
	if l.Fixed {
		return
	}
	t := l.Type
	switch {
	case t.Kind == schema.Optional:
		g.p("\tif p[%d] != 0 {", at)
		g.checkValue(l.Elem, at+l.Value, list, failed)
		g.p("\t}")
	case textual(t):
		g.p("\tif err := c.Text(%s); err != nil {\n\t\treturn %s\n\t}", cut("p", at, l.Size), failed)
	case composite(t):
		_, expr := g.inView(l, "p", at, list)
		g.p("\tif err := (%s).check(c); err != nil {\n\t\treturn %s\n\t}", expr, failed)
	case t.Kind == schema.Array:
		g.p("\tif err := %s; err != nil {\n\t\treturn %s\n\t}", g.checkList(l.Elem, whole("p", at, l.Size), list), failed)
	case l.Elem.Fixed:
		g.p("\tif _, err := c.Elements(%s, %d, %d); err != nil {\n\t\treturn %s\n\t}", cut("p", at, l.Size), l.Elem.Size, l.Elem.Align, failed)
	default:
		g.p("\tif b, err := c.Elements(%s, %d, %d); err != nil {\n\t\treturn %s", cut("p", at, l.Size), l.Elem.Size, l.Elem.Align, failed)
		g.p("\t} else if err := %s; err != nil {\n\t\treturn %s\n\t}", g.checkList(l.Elem, "b", list), failed)
	}
}

// checkList returns the expression that checks elements with variable parts
// which lie in b.
func (g *generator) checkList(e *schema.Layout, b, list string) string {
	if textual(e.Type) {
		return "c.Texts(" + b + ")"
	}
	_, expr := g.listView(e, b, list)
	return "(" + expr + ").check(c)"
}

// listCheck writes what holds the elements of a list to the rules.
func (g *generator) listCheck(view string, e *schema.Layout) {
	if e.Fixed {
		return
	}
	g.p("func (v %s) check(c *view.Checker) error {\n\tfor i := range v.Len() {\n\t\tp := v.at(i)", view)
	g.checkValue(e, 0, view, "view.InElement(i, err)")
	g.p("\t}\n\treturn nil\n}\n")
}

// unionCheck writes what holds the alternative of a union to the rules.
func (g *generator) unionCheck(l *schema.Layout, f form, tag string) {
	if l.Fixed {
		return
	}
	g.p("func (v %s) check(c *view.Checker) error {\n\tp := v.block()\n\tswitch v.Tag() {", f.view)
	for i, field := range l.Type.Fields {
		if !l.Fields[i].Fixed {
			g.p("\tcase %s%s:", tag, GoName(field.Name))
			g.checkValue(l.Fields[i], l.Value, GoName(l.Type.Name)+GoName(field.Name), fmt.Sprintf("view.In(%q, err)", field.Name))
		}
	}
	g.p("\t}\n\treturn nil\n}\n")
}
