package gogen

import (
	"fmt"
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// setter is the methods that write a field, an alternative or an element.
type setter struct {
	recv    string // the builder's type
	name    string // of the field; "" for elements
	index   string // the first parameter, for elements
	p       string // the expression for the block
	at      int    // the offset there
	list    string // what names of generated list types begin with
	before  []string
	members members
	what    string // what is written, as comments and errors say it
	field   schema.Field
}

// method begins a method: its comment and its head up to the brace. It returns
// the expression for the block, which later lines use.
func (g *generator) method(s setter, method, params, result, comment string) (p string) {
	g.member(s.members, s.recv, method, "a method that writes "+s.what)
	if s.index != "" && params != "" {
		params = s.index + ", " + params
	} else {
		params = s.index + params
	}
	g.comment("", ofField(method, comment, s.field))
	if result != "" {
		result += " "
	}
	g.p("func (b %s) %s(%s) %s{", s.recv, method, params, result)
	if len(s.before) == 0 {
		return s.p
	}
	g.p("\tp := %s", s.p)
	for _, line := range s.before {
		g.p("\t%s", line)
	}
	return "p"
}

// inPlace is the name of the method that returns a builder for what lies in
// place in a field, or in an element where that is "".
func inPlace(field string) string {
	switch field {
	case "":
		return "At"
	case "Finish": // is a method of every builder
		return "Finish_"
	}
	return field
}

// setters writes the methods for a value of layout l.
func (g *generator) setters(s setter, l *schema.Layout) {
	t := l.Type
	switch {
	case t.Kind == schema.Optional:
		s.before = append(s.before, fmt.Sprintf("p[%d] = 1", s.at))
		s.at += l.Value
		g.setters(s, l.Elem)
	case textual(t):
		p := g.method(s, "Set"+s.name, "x "+goType(t), "", "sets "+s.what)
		put := "PutString"
		if t.Kind == schema.Bytes {
			put = "PutBytes"
		}
		g.p("\tb.a.%s(%s, x)\n}\n", put, cut(p, s.at, l.Size))
		p = g.method(s, "Make"+s.name, "n int", "[]byte", "makes room for n bytes in "+s.what+"; all of them must be written, and there are none where the message has no more room")
		g.p("\treturn b.a.Text(%s, n)\n}\n", cut(p, s.at, l.Size))
	case t.Kind == schema.Slice:
		g.sliceSetters(s, l)
	case t.Kind == schema.Array, composite(t):
		typ, _ := g.inBuilder(l, "", 0, s.list)
		p := g.method(s, inPlace(s.name), "", typ, "returns what writes "+s.what)
		_, expr := g.inBuilder(l, p, s.at, s.list)
		g.p("\treturn %s\n}\n", expr)
	default:
		p := g.method(s, "Set"+s.name, "x "+goType(t), "", "sets "+s.what)
		g.p("\t%s\n}\n", storeNumber(t, p, s.at, "x"))
	}
}

func (g *generator) sliceSetters(s setter, l *schema.Layout) {
	e := l.Elem
	typ, _ := g.listBuilder(e, "", s.list)
	p := g.method(s, "Make"+s.name, "n int", typ, "makes room for n elements in "+s.what+", which are zero; there are none where the message has no more room")
	_, expr := g.listBuilder(e, fmt.Sprintf("b.a.Elements(%s, n, %d, %d)", cut(p, s.at, l.Size), e.Size, e.Align), s.list)
	g.p("\treturn %s\n}\n", expr)

	if !numeric(e.Type) && !textual(e.Type) && e.Type.Kind != schema.Bool {
		return
	}
	p = g.method(s, "Set"+s.name, "x "+goType(l.Type), "", "sets "+s.what)
	index := ""
	if s.index != "" {
		index = strings.Fields(s.index)[0] + ", "
	}
	switch {
	case numeric(e.Type):
		g.p("\tview.PutSlice(b.a, %s, x)\n}\n", cut(p, s.at, l.Size))
	case textual(e.Type):
		g.p("\tview.CopyTexts(b.Make%s(%slen(x)), x)\n}\n", s.name, index)
	default:
		g.p("\tb.Make%s(%slen(x)).CopyFrom(x)\n}\n", s.name, index)
	}
}
