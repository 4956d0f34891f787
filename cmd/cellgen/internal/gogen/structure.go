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
	g.p("func View%s(msg []byte) %s {", name, f.view)
	carried, lit := "len(msg)", "p: (*[%s]byte)(msg)"
	if !l.Fixed {
		carried, lit = "view.Carried(msg)", "p: (*[%s]byte)(msg), msg: msg"
	}
	g.p("\tif n := %s; n < %s {\n\t\treturn older%s(msg, n)\n\t}", carried, f.block, name)
	g.p("\treturn %s{"+lit+"}\n}\n", f.view, f.block)

	var ends strings.Builder
	for i, of := range l.Fields {
		fmt.Fprintf(&ends, ", %d", l.Offsets[i]+of.Size)
	}
	g.comment("", fmt.Sprintf("older%s views a message whose sender knew the first n bytes of the block alone.", name))
	g.p("func older%s(msg []byte, n int) %s {", name, f.view)
	g.p("\tp := view.Extended(msg[:n], %s%s)", f.block, ends.String())
	if l.Fixed {
		g.p("\treturn %s{p: (*[%s]byte)(p)}\n}\n", f.view, f.block)
	} else {
		g.p("\treturn %s{p: (*[%s]byte)(p), msg: msg}\n}\n", f.view, f.block)
	}
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
		g.p("func Build%s(place []byte) (%s, error) {", name, f.builder)
		if l.Size > 0 {
			g.p("\tif len(place) < %s {\n\t\treturn %s{}, view.NoSpace(place, %s)\n\t}", f.block, f.builder, f.block)
		}
		g.p("\tp := (*[%s]byte)(place)", f.block)
		g.p("\t*p = [%s]byte{}", f.block)
		g.p("\treturn %s{p: p}, nil\n}\n", f.builder)
		g.comment("", "Finish returns the length of the message; the error is nil.")
		g.p("func (b %s) Finish() (int, error) { return %s, nil }\n", f.builder, f.block)
		return
	}
	g.comment("", fmt.Sprintf("Build%s begins a message at the front of place; a keeps account of its parts until it is finished. The error wraps view.ErrSpace.", name))
	g.p("func Build%s(place []byte, a *view.Arena) (%s, error) {", name, f.builder)
	g.p("\tif err := a.Begin(place, %s); err != nil {\n\t\treturn %s{}, err\n\t}", f.block, f.builder)
	g.p("\tp := (*[%s]byte)(place)", f.block)
	g.p("\t*p = [%s]byte{}", f.block)
	g.p("\tbinary.LittleEndian.PutUint32(p[0:4], %s)", f.block)
	g.p("\treturn %s{p: p, a: a}, nil\n}\n", f.builder)
	g.comment("", "Finish returns the length of the message. The error wraps view.ErrSpace: a part did not fit.")
	g.p("func (b %s) Finish() (int, error) { return b.a.Finish() }\n", f.builder)
}
