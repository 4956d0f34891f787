package schema

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Validate checks s against every rule of the language. The error wraps
// [ErrInvalid] and says what is wrong and what to write instead.
func (s *Schema) Validate() error {
	v := validator{layouter: newLayouter(), declared: map[*Type]bool{}}
	if err := validDoc(s.Doc); err != nil {
		return placed(err, s, -1, "")
	}
	if len(s.Types) > MaxTypes {
		return placed(broken("%d types, above the limit of %d", len(s.Types), MaxTypes), s, -1, "")
	}
	if len(s.Services) > MaxServices {
		return placed(broken("%d services, above the limit of %d", len(s.Services), MaxServices), s, -1, "")
	}
	names := scope{}
	for _, t := range s.Types {
		if t == nil || !t.Kind.Named() {
			return placed(broken("a type of the schema must be a struct, an enum or a union"), s, -1, "")
		}
		if v.declared[t] {
			return placed(broken("listed twice"), t, -1, t.Name)
		}
		v.declared[t] = true
		if err := names.add(t.Name, typeWords); err != nil {
			return placed(err, t, -1, t.Kind.String()+" "+t.Name)
		}
	}
	for _, service := range s.Services {
		if service == nil {
			return placed(broken("a service is nil"), s, -1, "")
		}
		if err := names.add(service.Name, typeWords); err != nil {
			return placed(err, service, -1, "service "+service.Name)
		}
	}
	for _, t := range s.Types {
		if err := v.named(t); err != nil {
			return placed(err, t, -1, t.Name)
		}
	}
	for _, service := range s.Services {
		if err := v.service(service); err != nil {
			return placed(err, service, -1, service.Name)
		}
	}
	return nil
}

// validator walks a schema; its layouter holds sizes, depth and recursion to
// their limits.
type validator struct {
	*layouter
	declared map[*Type]bool
}

func (v *validator) named(t *Type) error {
	if err := validDoc(t.Doc); err != nil {
		return err
	}
	switch {
	case t.Kind == Enum && len(t.Fields) > 0, t.Kind != Enum && len(t.Values) > 0:
		return broken("an enum has values, structs and unions have fields")
	case t.Kind != Enum && t.Elem != nil, t.Len != 0:
		return broken("a struct or union has neither an element nor a length")
	case t.Kind == Enum:
		return v.enum(t)
	case len(t.Fields) > MaxFields:
		return broken("%d fields, above the limit of %d: group them in structs", len(t.Fields), MaxFields)
	case t.Kind == Union && len(t.Fields) == 0:
		return broken("a union needs at least one alternative")
	}
	names := scope{}
	for i, f := range t.Fields {
		where := t.Name + "." + f.Name
		err := names.add(f.Name, nil)
		if err == nil {
			err = v.reference(f.Type, 0)
		}
		if err == nil && t.Kind == Union && f.Type.Kind == Optional {
			err = broken("an optional alternative: the union can be none of its alternatives already, leave the ? out")
		}
		if err == nil {
			err = validUnit(f.Unit)
		}
		if err == nil {
			err = validDoc(f.Doc)
		}
		if err != nil {
			return placed(err, t, i, where)
		}
	}
	// Every named type is laid out here, as a message too: whether it may be
	// one doesn't depend on whether a method uses it.
	if t.Kind == Struct {
		_, err := v.root(t)
		return err
	}
	_, err := v.of(t)
	return err
}

func (v *validator) enum(t *Type) error {
	if _, err := v.of(t); err != nil {
		return err
	}
	if len(t.Values) == 0 || len(t.Values) > MaxValues {
		return broken("an enum needs at least one value, and %d at most", MaxValues)
	}
	names, numbers := scope{}, map[int64]string{}
	bits := 8 * t.Elem.Kind.ScalarSize()
	for i, value := range t.Values {
		err := names.add(value.Name, nil)
		low, high := int64(-1)<<(bits-1), int64(1)<<(bits-1)-1
		if !t.Elem.Kind.Signed() {
			low, high = 0, int64(1)<<(bits%64)-1
		}
		switch {
		case err != nil:
		case !(t.Elem.Kind == Uint64) && (value.Number < low || value.Number > high):
			err = broken("%d does not fit into %v: take a larger integer", value.Number, t.Elem.Kind)
		case numbers[value.Number] != "":
			err = broken("%s has the number %s already", numbers[value.Number], t.number(value.Number))
		default:
			err = validDoc(value.Doc)
		}
		if err != nil {
			return placed(err, t, i, t.Name+"."+value.Name)
		}
		numbers[value.Number] = value.Name
	}
	return nil
}

// reference checks the type of a field, as far as it is written in place.
func (v *validator) reference(t *Type, depth int) error {
	switch {
	case t == nil:
		return broken("its type is missing")
	case depth > MaxDepth:
		return tooDeep()
	case t.Kind.Named():
		if !v.declared[t] {
			return broken("%v %s is not among the types of the schema", t.Kind, t.Name)
		}
		return nil
	case t.Name != "" || t.Doc != "" || t.Fields != nil || t.Values != nil:
		return broken("only structs, enums and unions have names and parts of their own")
	case t.Kind.Scalar(), t.Kind == String, t.Kind == Bytes:
		if t.Elem != nil || t.Len != 0 {
			return broken("%v has neither an element nor a length", t.Kind)
		}
		return nil
	case t.Kind != Array && t.Kind != Slice && t.Kind != Optional:
		return broken("unknown %v", t.Kind)
	case t.Kind != Array && t.Len != 0:
		return broken("%v has no length", t.Kind)
	}
	if err := v.reference(t.Elem, depth+1); err != nil {
		return err
	}
	switch {
	case t.Kind == Slice && t.Elem.Kind == Uint8:
		return broken("[]uint8 is written bytes")
	case t.Kind == Optional && t.Elem.Kind == Optional:
		return broken("an optional of an optional: one ? says it already")
	case t.Kind == Optional && t.Elem.Kind == Union:
		return broken("an optional union: a union can be none of its alternatives already, leave the ? out")
	}
	return nil
}

func (v *validator) service(service *Service) error {
	if err := validDoc(service.Doc); err != nil {
		return err
	}
	if n := len(service.Methods); n == 0 || n > MaxMethods {
		return broken("a service needs at least one method, and %d at most", MaxMethods)
	}
	names := scope{}
	for i := range service.Methods {
		m := &service.Methods[i]
		err := names.add(m.Name, nil)
		if err == nil {
			err = v.method(m)
		}
		if err != nil {
			return placed(err, service, i, service.Name+"."+m.Name)
		}
	}
	return nil
}

func (v *validator) method(m *Method) error {
	if err := validDoc(m.Doc); err != nil {
		return err
	}
	if m.Mode < Unary || m.Mode > Topic {
		return broken("unknown %v", m.Mode)
	}
	if m.Mode == Topic && m.Idempotent {
		return broken("a topic is not called, so it can't be idempotent")
	}
	for s := range Slot(slots) {
		t := m.Message(s)
		switch {
		case !m.Mode.Has(s):
			if t != nil {
				return broken("%v methods have no %v", m.Mode, s)
			}
		case t == nil:
			return broken("its %v is missing: an empty one is a struct without name and fields", s)
		case t.Kind != Struct:
			return broken("its %v must be a struct: wrap %s in one", s, TypeText(t))
		case t.Name == "" && (len(t.Fields) > 0 || t.Doc != "" || s == SlotIn || s == SlotOut):
			return broken("its %v must be a struct with a name", s)
		case t.Name != "" && !v.declared[t]:
			return broken("struct %s is not among the types of the schema", t.Name)
		}
	}
	return v.ancestors(m)
}

// ancestors checks what can be checked without the method's fingerprint. To
// hash each method of a description costs up to its length for each of its
// methods, which nobody who just reads one should have to pay.
func (v *validator) ancestors(m *Method) error {
	if len(m.Ancestors) > MaxAncestors {
		return broken("%d ancestors, above the limit of %d", len(m.Ancestors), MaxAncestors)
	}
	if len(m.Ancestors) == 0 {
		return nil
	}
	form, err := v.blocks(m)
	if err != nil {
		return err
	}
	seen := map[uint64]bool{0: true}
	for _, a := range m.Ancestors {
		if seen[a.Fingerprint] {
			return broken("ancestor %s: a fingerprint is not 0, and listed once", FormatFingerprint(a.Fingerprint))
		}
		seen[a.Fingerprint] = true
		for s := range Slot(slots) {
			if n := a.Length(s); n < 0 || n > form.Length(s) {
				return broken("ancestor %s: its %v has %d bytes, today's %d: an ancestor is never longer", FormatFingerprint(a.Fingerprint), s, n, form.Length(s))
			}
		}
	}
	return nil
}

// scope holds the names of one place to be distinct, however a language's
// generator may write them: without regard to case and underscores.
type scope map[string]string

func (s scope) add(name string, reserved []string) error {
	if err := validName(name); err != nil {
		return err
	}
	if slices.Contains(reserved, name) {
		return broken("%q is a word of the language: take another name", name)
	}
	folded := strings.ToLower(strings.ReplaceAll(name, "_", ""))
	switch other := s[folded]; other {
	case "":
		s[folded] = name
		return nil
	case name:
		return broken("the name %s occurs twice", name)
	default:
		return broken("the names %s and %s differ in case and underscores alone, which generators change: take another name", other, name)
	}
}

// typeWords can't be names of types or services.
var typeWords = func() []string {
	words := []string{"cell", "service", "call", "oneway", "topic", "idempotent", "in", "out", "was", "unit"}
	for _, name := range kindNames {
		if name != "" {
			words = append(words, name)
		}
	}
	return words
}()

func validName(name string) error {
	if name == "" {
		return broken("a name is missing")
	}
	if len(name) > MaxName {
		return broken("the name %.20s… has %d bytes, above the limit of %d", name, len(name), MaxName)
	}
	for i := range len(name) {
		if c := name[i]; !letter(c) && (i == 0 || !digit(c) && c != '_') {
			return broken("%q is not a name: a letter (a-z, A-Z), then letters, digits and underscores", name)
		}
	}
	return nil
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

func validUnit(unit string) error {
	if len(unit) > MaxUnit {
		return broken("the unit has %d bytes, above the limit of %d", len(unit), MaxUnit)
	}
	if !utf8.ValidString(unit) {
		return broken("the unit is not UTF-8")
	}
	for _, r := range unit {
		if r == '"' || r == '\\' || unicode.IsControl(r) {
			return broken("the unit %q has a quote, a backslash or a control character: leave it out", unit)
		}
	}
	if strings.Trim(unit, " ") != unit {
		return broken("the unit %q begins or ends with a space", unit)
	}
	return nil
}

func validDoc(doc string) error {
	if doc != CleanDoc(doc) {
		return broken("its documentation has control characters, spaces at an end of a line, or empty lines around it: pass it through CleanDoc")
	}
	return nil
}

// CleanDoc returns text as documentation may be: UTF-8 lines without control
// characters but tabs, without space at their ends, and without empty lines
// around the whole.
func CleanDoc(text string) string {
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\r\n", "\n"), "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || r == '\uFEFF') {
			return -1
		}
		return r
	}, text)
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRightFunc(lines[i], unicode.IsSpace)
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}
