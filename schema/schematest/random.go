// Package schematest makes random schemas and values, by which parsers,
// generators and codecs are tested against each other. Equal random numbers
// make equal schemas.
package schematest

import (
	"fmt"
	"math/rand/v2"

	"github.com/cell-runtime/cell/schema"
)

// Schema returns a random valid schema with a few types and one service, S,
// with methods of all modes. Every kind of type occurs sooner or later.
func Schema(r *rand.Rand) *schema.Schema {
	g := generator{r: r, s: &schema.Schema{Doc: doc(r)}}
	g.empty = &schema.Type{Kind: schema.Struct, Name: "Empty"}
	g.s.Types = append(g.s.Types, g.empty)
	for range 2 + r.IntN(8) {
		g.named()
	}
	if len(g.structs) == 0 {
		g.structure()
	}
	service := &schema.Service{Name: "S", Doc: doc(r)}
	for i := range 1 + r.IntN(6) {
		service.Methods = append(service.Methods, g.method(i))
	}
	g.s.Services = []*schema.Service{service}
	return g.s
}

// Append returns a copy of s, which must be valid, in which some of the
// structs that are messages have further fields, and reports whether there are
// any. Methods whose messages are nested in others, too, become new endpoints;
// others additive ones.
func Append(r *rand.Rand, s *schema.Schema) (grown *schema.Schema, changed bool) {
	text, err := schema.Print(s)
	if err != nil {
		return s, false
	}
	if grown, err = schema.Parse(text); err != nil {
		return s, false
	}
	g := generator{r: r, s: grown}
	for _, t := range grown.Types {
		if t.Kind != schema.Struct || r.IntN(2) == 0 || len(t.Fields)+3 > schema.MaxFields {
			continue
		}
		layout, err := schema.LayoutOf(t)
		if err != nil {
			continue
		}
		for range 1 + r.IntN(2) {
			// A fixed message stays fixed. What was empty stays so: it may
			// be where nothing but an empty struct can stand.
			if len(t.Fields) == 0 {
				break
			}
			of := scalar(r)
			if !layout.Fixed && r.IntN(2) == 0 {
				of = g.slice(scalar(r))
			}
			t.Fields = append(t.Fields, schema.Field{Name: fmt.Sprintf("New%d", len(t.Fields)), Type: of, Unit: unit(r)})
			changed = true
		}
	}
	if grown.Validate() != nil {
		return s, false // the limits of size or depth
	}
	return grown, changed
}

type generator struct {
	r       *rand.Rand
	s       *schema.Schema
	empty   *schema.Type
	usable  []*schema.Type // as a field's type
	structs []*schema.Type // as messages
}

func (g *generator) named() {
	switch g.r.IntN(5) {
	case 0:
		g.enum()
	case 1:
		g.union()
	default:
		g.structure()
	}
}

func (g *generator) declare(kind schema.Kind) *schema.Type {
	t := &schema.Type{Kind: kind, Name: fmt.Sprintf("T%d", len(g.s.Types)), Doc: doc(g.r)}
	g.s.Types = append(g.s.Types, t)
	return t
}

func (g *generator) enum() {
	t := g.declare(schema.Enum)
	kind := schema.Int8 + schema.Kind(g.r.IntN(8))
	t.Elem = &schema.Type{Kind: kind}
	numbers := g.r.Perm(100)
	for i := range 1 + g.r.IntN(5) {
		n := int64(numbers[i])
		if kind.Signed() && g.r.IntN(2) == 0 {
			n = -n
		}
		t.Values = append(t.Values, schema.Value{Name: fmt.Sprintf("V%d", i), Number: n, Doc: doc(g.r)})
	}
	if kind == schema.Uint64 && g.r.IntN(2) == 0 {
		t.Values[0].Number = -1 // the greatest
	}
	g.usable = append(g.usable, t)
}

func (g *generator) union() {
	t := g.declare(schema.Union)
	for i := range 1 + g.r.IntN(4) {
		of := g.of(2)
		switch {
		case g.r.IntN(4) == 0:
			of = g.empty
		case of.Kind == schema.Optional:
			of = of.Elem
		}
		t.Fields = append(t.Fields, schema.Field{Name: fmt.Sprintf("A%d", i), Type: of, Unit: unit(g.r), Doc: doc(g.r)})
	}
	g.usable = append(g.usable, t)
}

func (g *generator) structure() {
	t := g.declare(schema.Struct)
	depth := 3
	if g.r.IntN(3) == 0 {
		depth = 0 // fixed, often
	}
	for i := range 1 + g.r.IntN(6) {
		t.Fields = append(t.Fields, schema.Field{Name: fmt.Sprintf("F%d", i), Type: g.of(depth), Unit: unit(g.r), Doc: doc(g.r)})
	}
	g.usable = append(g.usable, t)
	g.structs = append(g.structs, t)
}

// of returns a type for a field, in which at most depth others lie.
func (g *generator) of(depth int) *schema.Type {
	if depth > 0 {
		switch g.r.IntN(6) {
		case 0:
			return g.slice(g.of(depth - 1))
		case 1:
			return &schema.Type{Kind: schema.Array, Len: 1 + g.r.IntN(4), Elem: g.shallow(g.of(depth - 1))}
		case 2:
			elem := g.shallow(g.of(depth - 1))
			if elem.Kind == schema.Optional || elem.Kind == schema.Union {
				return elem
			}
			return &schema.Type{Kind: schema.Optional, Elem: elem}
		case 3:
			return &schema.Type{Kind: schema.String + schema.Kind(g.r.IntN(2))}
		}
	}
	if len(g.usable) > 0 && g.r.IntN(3) == 0 {
		return g.shallow(g.usable[g.r.IntN(len(g.usable))])
	}
	return scalar(g.r)
}

func (g *generator) slice(elem *schema.Type) *schema.Type {
	if elem = g.shallow(elem); elem.Kind == schema.Uint8 {
		return &schema.Type{Kind: schema.Bytes}
	}
	return &schema.Type{Kind: schema.Slice, Elem: elem}
}

// shallow returns t, or a scalar where t would bring a type around it too near
// to the limits.
func (g *generator) shallow(t *schema.Type) *schema.Type {
	if l, err := schema.LayoutOf(t); err != nil || l.Depth > schema.MaxDepth-6 || l.Size > 4096 {
		return scalar(g.r)
	}
	return t
}

func (g *generator) method(i int) schema.Method {
	m := schema.Method{
		Name: fmt.Sprintf("M%d", i), Doc: doc(g.r),
		Mode:       schema.Unary + schema.Mode(g.r.IntN(int(schema.Topic))),
		Idempotent: g.r.IntN(4) == 0,
	}
	message := func(s schema.Slot, into **schema.Type) {
		if !m.Mode.Has(s) {
			return
		}
		*into = g.structs[g.r.IntN(len(g.structs))]
		if g.r.IntN(6) == 0 && s != schema.SlotIn && s != schema.SlotOut {
			*into = &schema.Type{Kind: schema.Struct}
		}
	}
	message(schema.SlotRequest, &m.Request)
	message(schema.SlotReply, &m.Reply)
	message(schema.SlotIn, &m.In)
	message(schema.SlotOut, &m.Out)
	message(schema.SlotEvent, &m.Event)
	if m.Mode == schema.Topic {
		m.Idempotent = false
	}
	for j := range g.r.IntN(3) {
		m.Ancestors = append(m.Ancestors, schema.Ancestor{Fingerprint: uint64(i)<<8 + uint64(j) + 1})
	}
	return m
}

func scalar(r *rand.Rand) *schema.Type {
	return &schema.Type{Kind: schema.Bool + schema.Kind(r.IntN(int(schema.Float64)))}
}

func doc(r *rand.Rand) string {
	return [...]string{"", "", "", "One line.", "Two\nlines.", "A paragraph.\n\n\tindented, as código"}[r.IntN(6)]
}

func unit(r *rand.Rand) string {
	return [...]string{"", "", "", "ns", "1e-8 EUR", "°C"}[r.IntN(6)]
}
