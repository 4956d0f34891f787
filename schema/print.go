package schema

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is the version of the language, which every description names in
// its first line.
const Version = 1

// Print returns the canonical text of s: one way to write each schema, so that
// equal schemas have equal texts. Parse(Print(s)) gives s again. The error
// wraps [ErrInvalid].
func Print(s *Schema) (string, error) {
	if err := s.Validate(); err != nil {
		return "", err
	}
	var p printer
	p.doc("", s.Doc)
	p.line("cell ", strconv.Itoa(Version))
	for _, t := range s.Types {
		p.line()
		p.declaration(t, true)
	}
	for _, service := range s.Services {
		p.line()
		p.doc("", service.Doc)
		p.line("service ", service.Name, " {")
		for i := range service.Methods {
			p.method(&service.Methods[i], true)
		}
		p.line("}")
	}
	return p.String(), nil
}

// printer writes lines. It must not fall over types that break the rules,
// since identities may be asked for before anybody has validated.
type printer struct{ strings.Builder }

func (p *printer) line(words ...string) {
	for _, w := range words {
		p.WriteString(w)
	}
	p.WriteByte('\n')
}

func (p *printer) doc(indent, doc string) {
	if doc == "" {
		return
	}
	for text := range strings.SplitSeq(doc, "\n") {
		if text != "" {
			text = " " + text
		}
		p.line(indent, "//", text)
	}
}

// declaration writes a named type, with or without what is for people alone.
func (p *printer) declaration(t *Type, docs bool) {
	if docs {
		p.doc("", t.Doc)
	}
	head := t.Kind.String() + " " + t.Name
	if t.Kind == Enum {
		head += " " + TypeText(t.Elem)
	}
	if len(t.Fields) == 0 && len(t.Values) == 0 {
		p.line(head, " {}")
		return
	}
	p.line(head, " {")
	for _, f := range t.Fields {
		if docs {
			p.doc("\t", f.Doc)
		}
		unit := ""
		if f.Unit != "" {
			unit = ` unit "` + f.Unit + `"`
		}
		p.line("\t", f.Name, " ", TypeText(f.Type), unit)
	}
	for _, v := range t.Values {
		if docs {
			p.doc("\t", v.Doc)
		}
		p.line("\t", v.Name, " = ", t.number(v.Number))
	}
	p.line("}")
}

// number writes the number of an enum's value.
func (t *Type) number(n int64) string {
	if t.Elem != nil && t.Elem.Kind == Uint64 {
		return strconv.FormatUint(uint64(n), 10)
	}
	return strconv.FormatInt(n, 10)
}

// method writes a method, with or without what is no part of its identity.
func (p *printer) method(m *Method, all bool) {
	word := "call "
	switch m.Mode {
	case OneWay:
		word = "oneway "
	case Topic:
		word = "topic "
	}
	if all {
		p.doc("\t", m.Doc)
		if m.Idempotent {
			word = "idempotent " + word
		}
	}
	var in []string
	for s := range Slot(slots) {
		t := m.Message(s)
		if !m.Mode.Has(s) || s == SlotReply || t == nil || t.Name == "" {
			continue
		}
		if s == SlotIn || s == SlotOut {
			in = append(in, s.String()+" "+t.Name)
		} else {
			in = append(in, t.Name)
		}
	}
	reply := ""
	if m.Mode.Has(SlotReply) && m.Reply != nil && m.Reply.Name != "" {
		reply = " " + m.Reply.Name
	}
	p.line("\t", word, m.Name, "(", strings.Join(in, ", "), ")", reply)
	if !all {
		return
	}
	for _, a := range m.Ancestors {
		p.WriteString("\t\twas " + FormatFingerprint(a.Fingerprint))
		for s := range Slot(slots) {
			if m.Mode.Has(s) {
				fmt.Fprintf(p, " %v %d", s, a.Length(s))
			}
		}
		p.line()
	}
}

// FormatFingerprint writes a fingerprint as everything of Cell writes it: 16
// hexadecimal digits, the most significant first.
func FormatFingerprint(fingerprint uint64) string { return fmt.Sprintf("%016x", fingerprint) }

// TypeText returns t as a field's line has it, such as "[]uint32" or "?Order".
func TypeText(t *Type) string {
	var b strings.Builder
	// More than the deepest valid type, and an end to those without one.
	for range MaxDepth + 2 {
		if t == nil {
			break
		}
		switch t.Kind {
		case Slice:
			b.WriteString("[]")
		case Array:
			b.WriteString("[" + strconv.Itoa(t.Len) + "]")
		case Optional:
			b.WriteByte('?')
		case Struct, Enum, Union:
			b.WriteString(t.Name)
			return b.String()
		default:
			b.WriteString(t.Kind.String())
			return b.String()
		}
		t = t.Elem
	}
	b.WriteString("…") // no valid type
	return b.String()
}
