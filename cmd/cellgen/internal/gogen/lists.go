package gogen

import (
	"fmt"

	"github.com/cell-runtime/cell/schema"
)

// listOfNamed writes the list types of a struct or union.
func (g *generator) listOfNamed(e *schema.Layout) {
	f := placeForm(e)
	g.claim(f.view+"s", "a list of "+f.view)
	g.claim(f.builder+"s", "a list of "+f.builder)
	g.listTypes(f.view+"s", f.builder+"s", f.block, f.view, e)
}

// list writes a list type that has no named element.
func (g *generator) list(l list) {
	g.claim(l.name+"Builder", "a list builder")
	g.listTypes(l.name, l.name+"Builder", fmt.Sprint(l.elem.Size), schema.TypeText(l.elem.Type), l.elem)
}

func (g *generator) listTypes(view, builder, size, of string, e *schema.Layout) {
	g.comment("", fmt.Sprintf("%s is a list of %s in place, to be read.", view, of))
	g.p("type %s struct {\n\tlease view.Lease\n\tb []byte", view)
	if !e.Fixed {
		g.p("\tmsg []byte")
	}
	g.p("}\n")
	g.p("// Len returns the number of elements.")
	g.p("func (v %s) Len() int { return len(v.b) / %s }\n", view, size)
	g.p("func (v %s) at(i int) []byte { v.lease.Use(); return view.Element(v.b, i, %s) }\n", view, size)
	g.p("// At returns element i. What lies beyond the end reads as zero.")
	g.getter(getter{recv: view, method: "At", index: "i int", p: "v.at(i)", list: view}, e)
	if e.Type.Kind != schema.Optional {
		typ, _ := g.inView(e, "", 0, view)
		g.p("// All yields indexes and elements in order.")
		g.p("func (v %s) All() iter.Seq2[int, %s] {\n\treturn func(yield func(int, %s) bool) {", view, typ, typ)
		g.p("\t\tfor i := range v.Len() {\n\t\t\tif !yield(i, v.At(i)) {\n\t\t\t\treturn\n\t\t\t}\n\t\t}\n\t}\n}\n")
	}

	g.listCheck(view, e)

	g.comment("", fmt.Sprintf("%s is a list of %s in place, to be written. Its elements are zero until they are.", builder, of))
	g.p("type %s struct {\n\tlease view.Lease\n\tb []byte", builder)
	if !e.Fixed {
		g.p("\ta *view.Arena")
	}
	g.p("}\n")
	g.p("// Len returns the number of elements, 0 where they did not fit.")
	g.p("func (b %s) Len() int { return len(b.b) / %s }\n", builder, size)
	g.p("func (b %s) at(i int) []byte { b.lease.Use(); return view.Place(b.b, i, %s) }\n", builder, size)
	g.setters(setter{
		recv: builder, index: "i int", p: "b.at(i)", list: view, members: members{}, what: "element i",
	}, e)
}
