package gogen

import (
	"github.com/cell-runtime/cell/schema"
)

// getter is a method that reads a field, an alternative or an element.
type getter struct {
	recv   string // the view's type
	method string
	index  string // its parameter, for elements
	p      string // the expression for the block
	at     int    // the offset there
	list   string // what names of generated list types begin with
	has    string // a condition over p under which the value is there; "" for always
}

// getter writes the method for a value of layout l. What may be missing is
// returned with a bool.
func (g *generator) getter(m getter, l *schema.Layout) {
	if l.Type.Kind == schema.Optional {
		there := loadNumber(&schema.Type{Kind: schema.Bool}, "p", m.at)
		if m.has != "" {
			there = m.has + " && " + there
		}
		m.has = there
		m.at += l.Value
		l = l.Elem
	}
	if m.has == "" {
		typ, expr := g.inView(l, m.p, m.at, m.list)
		g.p("func (v %s) %s(%s) %s {\n\treturn %s\n}\n", m.recv, m.method, m.index, typ, expr)
		return
	}
	typ, expr := g.inView(l, "p", m.at, m.list)
	g.p("func (v %s) %s(%s) (x %s, ok bool) {", m.recv, m.method, m.index, typ)
	g.p("\tp := %s", m.p)
	if composite(l.Type) {
		// There is a place in any case; a view of it is better than one of
		// nothing.
		g.p("\treturn %s, %s\n}\n", expr, m.has)
		return
	}
	g.p("\tif ok = %s; ok {\n\t\tx = %s\n\t}\n\treturn x, ok\n}\n", m.has, expr)
}
