package gogen

import (
	"strconv"

	"github.com/cell-runtime/cell/schema"
)

// goStruct writes the Go struct of a struct or union, unless the package has
// it already.
func (g *generator) goStruct(t *schema.Type) {
	name := GoName(t.Name)
	g.checkFields(t)
	if g.opts.Declared[name] {
		g.taken[name] = "a type of the schema"
		return
	}
	g.claim(name, "a type of the schema")
	otherwise := name + " is a message, or part of one."
	if t.Kind == schema.Union {
		otherwise = name + " is one of its fields, or none: at most one is not nil."
	}
	g.comment("", about(name, t.Doc, otherwise))
	g.p("type %s struct {", name)
	for _, f := range t.Fields {
		g.comment("\t", f.Doc)
		star, unit := "", ""
		if t.Kind == schema.Union {
			star = "*"
		}
		if f.Unit != "" {
			unit = " // unit: " + f.Unit
		}
		g.p("\t%s %s%s%s", GoName(f.Name), star, goType(f.Type), unit)
	}
	g.p("}\n")
}

// enum writes the Go type of an enum and its constants, unless the package has
// it already, and the methods that give its values in words.
func (g *generator) enum(t *schema.Type) {
	name := GoName(t.Name)
	if g.opts.Declared[name] {
		g.taken[name] = "a type of the schema"
	} else {
		g.claim(name, "a type of the schema")
		g.comment("", about(name, t.Doc, name+" is an enum."))
		g.p("type %s %s\n", name, goType(t.Elem))
		g.comment("", "The values of "+name+".")
		g.p("const (")
		for _, v := range t.Values {
			constant := name + GoName(v.Name)
			g.claim(constant, "a value of "+name)
			g.comment("\t", v.Doc)
			g.p("\t%s %s = %s", constant, name, number(t, v))
		}
		g.p(")\n")
	}
	if !g.opts.Declared[name+".String"] {
		g.enumText(t, name)
	}
}

// enumText writes the method that gives an enum's values in words.
func (g *generator) enumText(t *schema.Type, name string) {
	g.comment("", "String returns the name of the value, or "+name+"(5) for a number that has none.")
	g.p("func (e %s) String() string {", name)
	g.p("\tswitch e {")
	for _, v := range t.Values {
		g.p("\tcase %s:\n\t\treturn %q", number(t, v), v.Name)
	}
	g.p("\t}")
	if t.Elem.Kind.Signed() {
		g.p("\treturn \"%s(\" + strconv.FormatInt(int64(e), 10) + \")\"", name)
	} else {
		g.p("\treturn \"%s(\" + strconv.FormatUint(uint64(e), 10) + \")\"", name)
	}
	g.p("}\n")
}

// number returns the number of an enum's value in decimal digits.
func number(t *schema.Type, v schema.Value) string {
	if t.Elem.Kind == schema.Uint64 {
		return strconv.FormatUint(uint64(v.Number), 10)
	}
	return strconv.FormatInt(v.Number, 10)
}
