package gogen

import (
	"fmt"
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// structure writes the view and the builder of a struct in one of its forms.
func (g *generator) structure(l *schema.Layout, f form) {
	name := GoName(l.Type.Name)
	what := "of " + name + " as a message"
	switch {
	case f.role != "":
		what = "of " + name + " within a message"
	case l.Fixed:
		what = "of " + name
	}
	g.claim(f.block, "the block length of a struct")
	g.p("// %s is the length in bytes of the block %s.", f.block, what)
	g.p("const %s = %d\n", f.block, l.Size)
	g.structView(l, f, name)
	g.structBuilder(l, f, name)
}

func (g *generator) structView(l *schema.Layout, f form, name string) {
	where := "a message"
	if f.role != "" {
		where = "its place within a message"
	}
	g.claim(f.view, "a view")
	g.comment("", fmt.Sprintf("%s reads %s in %s; see package view.", f.view, article(name), where))
	g.p("type %s struct {\n\tlease view.Lease\n\tp *[%s]byte", f.view, f.block)
	if !l.Fixed {
		g.p("\tmsg []byte")
	}
	g.p("}\n")
	if f.role == "" {
		g.viewOf(l, f, name)
	}
	g.p("func (v %s) block() *[%s]byte { v.lease.Use(); return v.p }\n", f.view, f.block)
	m := members{}
	for _, method := range viewMethods {
		m[method] = "a method of every view"
	}
	for i, field := range l.Type.Fields {
		method := accessor(field.Name)
		g.member(m, f.view, method, "the field "+field.Name)
		g.comment("", ofField(method, "returns the field "+field.Name, field))
		g.getter(getter{recv: f.view, method: method, p: "v.block()", at: l.Offsets[i], list: name + GoName(field.Name)}, l.Fields[i])
	}
	g.structCheck(l, f)
	g.structCopy(l, f, name)
}

// viewOf writes the functions that make views of messages.
func (g *generator) viewOf(l *schema.Layout, f form, name string) {
	g.claim("View"+name, "a function that makes views")
	g.claim("older"+name, "a function that makes views")
	g.comment("", fmt.Sprintf("View%s returns a view of the message msg, which is not checked: what is missing or lies reads as zero or empty.", name))
	// The fast paths of these functions are just small enough to be inlined.
	g.p("func View%s(msg []byte) %s {", name, f.view)
	var ends strings.Builder
	for i, of := range l.Fields {
		fmt.Fprintf(&ends, ", %d", l.Offsets[i]+of.Size)
	}
	older := fmt.Sprintf("older%s views a message whose sender knew less of the block.", name)
	if l.Fixed {
		g.p("\tif len(msg) < %s {\n\t\treturn older%s(msg)\n\t}", f.block, name)
		g.p("\treturn %s{p: (*[%s]byte)(msg)}\n}\n", f.view, f.block)
		g.comment("", older)
		g.p("func older%s(msg []byte) %s {", name, f.view)
		g.p("\tp := view.Extended(msg, %s%s)", f.block, ends.String())
		g.p("\treturn %s{p: (*[%s]byte)(p)}\n}\n", f.view, f.block)
		return
	}
	g.p("\tif len(msg) < %s || binary.LittleEndian.Uint32(msg) < %s {\n\t\treturn older%s(msg)\n\t}", f.block, f.block, name)
	g.p("\treturn %s{p: (*[%s]byte)(msg), msg: msg}\n}\n", f.view, f.block)
	g.comment("", older)
	g.p("func older%s(msg []byte) %s {", name, f.view)
	g.p("\tp := view.Extended(msg[:view.Carried(msg)], %s%s)", f.block, ends.String())
	g.p("\treturn %s{p: (*[%s]byte)(p), msg: msg}\n}\n", f.view, f.block)
}

func (g *generator) structBuilder(l *schema.Layout, f form, name string) {
	where := "a message"
	if f.role != "" {
		where = "its place within a message"
	}
	g.claim(f.builder, "a builder")
	g.comment("", fmt.Sprintf("%s writes %s in %s; see package view.", f.builder, article(name), where))
	g.p("type %s struct {\n\tlease view.Lease\n\tp *[%s]byte", f.builder, f.block)
	if !l.Fixed {
		g.p("\ta *view.Arena")
	}
	g.p("}\n")
	m := members{}
	if f.role == "" {
		m["Finish"] = "a method of every builder"
		g.buildIn(l, f, name)
	}
	g.p("func (b %s) block() *[%s]byte { b.lease.Use(); return b.p }\n", f.builder, f.block)
	for i, field := range l.Type.Fields {
		g.setters(setter{
			recv: f.builder, name: GoName(field.Name), p: "b.block()", at: l.Offsets[i],
			list: name + GoName(field.Name), members: m, what: "the field " + field.Name, field: field,
		}, l.Fields[i])
	}
}

// buildIn writes the functions that begin and finish messages.
func (g *generator) buildIn(l *schema.Layout, f form, name string) {
	g.claim("Build"+name, "a function that makes builders")
	if l.Fixed {
		g.comment("", fmt.Sprintf("Build%s begins a message at the front of place. The error wraps view.ErrSpace.", name))
		g.p("func Build%s(place []byte) (b %s, err error) {", name, f.builder)
		g.p("\tif len(place) < %s {\n\t\treturn b, view.NoSpace(place, %s)\n\t}", f.block, f.block)
		g.p("\tb.p = (*[%s]byte)(place)", f.block)
		g.p("\t*b.p = [%s]byte{}", f.block)
		g.p("\treturn\n}\n")
		g.comment("", "Finish returns the length of the message; the error is nil.")
		g.p("func (b %s) Finish() (int, error) { return %s, nil }\n", f.builder, f.block)
		return
	}
	g.comment("", fmt.Sprintf("Build%s begins a message at the front of place; a keeps account of its parts until it is finished. The error wraps view.ErrSpace.", name))
	g.p("func Build%s(place []byte, a *view.Arena) (b %s, err error) {", name, f.builder)
	g.p("\tif err := a.Begin(place, %s); err != nil {\n\t\treturn b, err\n\t}", f.block)
	g.p("\tb.p, b.a = (*[%s]byte)(place), a", f.block)
	g.p("\t*b.p = [%s]byte{}", f.block)
	g.p("\tbinary.LittleEndian.PutUint32(b.p[0:4], %s)", f.block)
	g.p("\treturn b, nil\n}\n")
	g.comment("", "Finish returns the length of the message. The error wraps view.ErrSpace: a part did not fit.")
	g.p("func (b %s) Finish() (int, error) { return b.a.Finish() }\n", f.builder)
}
