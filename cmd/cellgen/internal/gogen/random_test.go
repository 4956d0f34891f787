package gogen_test

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/cell-runtime/cell/schema"
)

// awkward are names that collide with what is generated, with words of Go or
// with packages, if the generator does not take care.
var awkward = []string{"String", "Check", "Struct", "Finish", "Tag", "type", "range", "view", "binary",
	"nil", "At", "All", "Len", "user_id", "a_1", "d", "t", "v", "b", "p", "x", "ok", "err", "list", "i"}

// maker makes random schemas and values.
type maker struct {
	*rand.Rand
	schema *schema.Schema
}

// randomSchema returns a schema with structs, enums and unions that use each
// other in all ways, all of them messages.
func randomSchema(seed uint64) *schema.Schema {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 1)), schema: &schema.Schema{}}
	for i := range 3 + m.IntN(6) {
		kind := []schema.Kind{schema.Struct, schema.Struct, schema.Struct, schema.Enum, schema.Union}[m.IntN(5)]
		m.schema.Types = append(m.schema.Types, m.named(kind, fmt.Sprintf("%v%c%d", kind, 'a'+rune(i), seed)))
	}
	service := &schema.Service{Name: "svc"}
	for _, t := range m.schema.Types {
		if t.Kind == schema.Struct && m.IntN(2) == 0 {
			method := schema.Method{Name: "call_" + t.Name, Mode: schema.Mode(1 + m.IntN(6))}
			for s := schema.SlotRequest; s <= schema.SlotEvent; s++ {
				if !method.Mode.Has(s) {
					continue
				}
				message := t
				if s <= schema.SlotReply && m.IntN(4) == 0 {
					message = &schema.Type{Kind: schema.Struct}
				}
				*map[schema.Slot]**schema.Type{
					schema.SlotRequest: &method.Request, schema.SlotReply: &method.Reply, schema.SlotIn: &method.In,
					schema.SlotOut: &method.Out, schema.SlotEvent: &method.Event,
				}[s] = message
			}
			service.Methods = append(service.Methods, method)
		}
	}
	if len(service.Methods) > 0 {
		m.schema.Services = []*schema.Service{service}
	}
	return m.schema
}

func (m *maker) named(kind schema.Kind, name string) *schema.Type {
	t := &schema.Type{Kind: kind, Name: name}
	if kind == schema.Enum {
		t.Elem = &schema.Type{Kind: schema.Int8 + schema.Kind(m.IntN(8))}
		for i := range 1 + m.IntN(3) {
			t.Values = append(t.Values, schema.Value{Name: fmt.Sprintf("v%d", i), Number: int64(i * 3)})
		}
		return t
	}
	at := m.IntN(len(awkward))
	for i := range 1 + m.IntN(7) {
		f := schema.Field{Name: awkward[(at+i)%len(awkward)], Type: m.typ(0)}
		for kind == schema.Union && f.Type.Kind == schema.Optional {
			f.Type = f.Type.Elem
		}
		t.Fields = append(t.Fields, f)
	}
	return t
}

// typ returns a type that may stand in a field, of named types that are there
// already.
func (m *maker) typ(depth int) *schema.Type {
	pick := m.IntN(20)
	if depth > 2 {
		pick = m.IntN(11)
	}
	switch {
	case pick < 11:
		return &schema.Type{Kind: schema.Bool + schema.Kind(m.IntN(int(schema.Bytes)))}
	case pick < 15 && len(m.schema.Types) > 0:
		return m.schema.Types[m.IntN(len(m.schema.Types))]
	case pick < 16:
		return &schema.Type{Kind: schema.Array, Elem: m.typ(depth + 1), Len: 1 + m.IntN(3)}
	case pick < 18:
		elem := m.typ(depth + 1)
		if elem.Kind == schema.Uint8 {
			return &schema.Type{Kind: schema.Bytes}
		}
		return &schema.Type{Kind: schema.Slice, Elem: elem}
	}
	elem := m.typ(depth + 1)
	if elem.Kind == schema.Optional || elem.Kind == schema.Union {
		return elem
	}
	return &schema.Type{Kind: schema.Optional, Elem: elem}
}

// value returns a random value of type t, whose floats are no NaNs: those have
// many forms and one name.
func (m *maker) value(t *schema.Type) schema.Datum {
	v := schema.Datum{Type: t}
	n := 0
	switch t.Kind {
	case schema.Bool:
		v.Bits = uint64(m.IntN(2))
	case schema.Float32:
		v.Bits = uint64(math.Float32bits(float32(m.NormFloat64())))
	case schema.Float64:
		v.Bits = math.Float64bits(m.NormFloat64())
	case schema.Enum:
		v.Bits = m.integer(t.Elem.Kind)
	case schema.String, schema.Bytes:
		v.Text = "a text of some length"[:m.IntN(22)]
	case schema.Struct:
		for _, f := range t.Fields {
			v.Items = append(v.Items, m.value(f.Type))
		}
	case schema.Union:
		if v.Bits = uint64(m.IntN(len(t.Fields) + 1)); v.Bits > 0 {
			v.Items = []schema.Datum{m.value(t.Fields[v.Bits-1].Type)}
		}
	case schema.Array:
		n = t.Len
	case schema.Slice:
		n = m.IntN(4)
	case schema.Optional:
		n = m.IntN(2)
	default:
		v.Bits = m.integer(t.Kind)
	}
	for range n {
		v.Items = append(v.Items, m.value(t.Elem))
	}
	return v
}

func (m *maker) integer(k schema.Kind) uint64 {
	shift := 64 - 8*k.ScalarSize()
	if k.Signed() {
		return uint64(int64(m.Uint64()) >> shift)
	}
	return m.Uint64() >> shift
}

// damage returns msg with some bytes changed, cut off or added.
func (m *maker) damage(msg []byte) []byte {
	msg = append([]byte(nil), msg...)
	for range m.IntN(4) {
		if len(msg) == 0 {
			break
		}
		at := m.IntN(len(msg))
		switch m.IntN(4) {
		case 0:
			msg[at] = byte(m.Uint32())
		case 1: // a small number, as lengths and offsets are
			msg[at] = byte(m.IntN(64))
		case 2:
			msg[at] += byte(m.IntN(17)) - 8
		case 3:
			copy(msg[at:], msg[m.IntN(len(msg)):])
		}
	}
	switch m.IntN(6) {
	case 0:
		msg = msg[:m.IntN(len(msg)+1)]
	case 1:
		msg = append(msg, make([]byte, m.IntN(16))...)
	}
	return msg
}
