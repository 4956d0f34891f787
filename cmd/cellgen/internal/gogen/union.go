package gogen

import (
	"fmt"

	"github.com/cell-runtime/cell/schema"
)

// union writes the tag, the view and the builder of a union.
func (g *generator) union(l *schema.Layout) {
	name, f := GoName(l.Type.Name), rootForm(l.Type)
	g.claim(f.block, "the length of a union")
	g.p("// %s is the length in bytes of %s in place.", f.block, article(name))
	g.p("const %s = %d\n", f.block, l.Size)
	tag := name + "Tag"
	g.claim(tag, "the tag of a union")
	g.p("// %s says which alternative %s holds.", tag, article(name))
	g.p("type %s uint32\n", tag)
	g.p("// The alternatives of %s.\nconst (", name)
	g.claim(tag+"None", "the tag of a union without value")
	g.p("\t%sNone %s = 0", tag, tag)
	for i, field := range l.Type.Fields {
		g.claim(tag+GoName(field.Name), "the tag of an alternative")
		g.p("\t%s%s %s = %d", tag, GoName(field.Name), tag, i+1)
	}
	g.p(")\n")
	g.unionView(l, f, name, tag)
	g.unionBuilder(l, f, name)
	g.unionCodec(l, f, name, tag)
}

func (g *generator) unionView(l *schema.Layout, f form, name, tag string) {
	g.claim(f.view, "a view")
	g.comment("", fmt.Sprintf("%s reads %s in its place within a message; see package view.", f.view, article(name)))
	g.p("type %s struct {\n\tlease view.Lease\n\tp *[%s]byte", f.view, f.block)
	if !l.Fixed {
		g.p("\tmsg []byte")
	}
	g.p("}\n")
	g.p("func (v %s) block() *[%s]byte { v.lease.Use(); return v.p }\n", f.view, f.block)
	g.p("// Tag says which alternative there is: %sNone for none, other numbers for those of newer senders.", tag)
	g.p("func (v %s) Tag() %s { return %s(binary.LittleEndian.Uint32(v.block()[0:4])) }\n", f.view, tag, tag)
	m := members{}
	for _, method := range viewMethods {
		m[method] = "a method of every view"
	}
	for i, field := range l.Type.Fields {
		method := accessor(field.Name)
		g.member(m, f.view, method, "the alternative "+field.Name)
		g.comment("", ofField(method, "returns the alternative "+field.Name+", and whether it is the one", field))
		g.getter(getter{
			recv: f.view, method: method, p: "v.block()", at: l.Value, list: name + GoName(field.Name),
			has: fmt.Sprintf("binary.LittleEndian.Uint32(p[0:4]) == %d", i+1),
		}, l.Fields[i])
	}
}

func (g *generator) unionBuilder(l *schema.Layout, f form, name string) {
	g.claim(f.builder, "a builder")
	g.comment("", fmt.Sprintf("%s writes %s in its place within a message; see package view. Whichever alternative is written last is the one.", f.builder, article(name)))
	g.p("type %s struct {\n\tlease view.Lease\n\tp *[%s]byte", f.builder, f.block)
	if !l.Fixed {
		g.p("\ta *view.Arena")
	}
	g.p("}\n")
	g.p("func (b %s) block() *[%s]byte { b.lease.Use(); return b.p }\n", f.builder, f.block)
	m := members{}
	for i, field := range l.Type.Fields {
		g.setters(setter{
			recv: f.builder, name: GoName(field.Name), p: "b.block()", at: l.Value, list: name + GoName(field.Name),
			before: []string{
				fmt.Sprintf("clear(p[%d:])", l.Value),
				fmt.Sprintf("binary.LittleEndian.PutUint32(p[0:4], %d)", i+1),
			},
			members: m, what: "the alternative " + field.Name, field: field,
		}, l.Fields[i])
	}
}
