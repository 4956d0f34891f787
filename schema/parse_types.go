package schema

import (
	"strconv"
	"strings"
)

// typeNamed returns the type of that name, which may be declared later.
func (p *parser) typeNamed(name string) *Type {
	t := p.types[name]
	if t == nil {
		t = &Type{Name: name}
		p.types[name] = t
	}
	return t
}

// mention returns the type of that name, which must be declared somewhere.
func (p *parser) mention(name string, at position) *Type {
	if _, ok := p.mentioned[name]; !ok {
		p.mentioned[name] = at
		p.order = append(p.order, name)
	}
	return p.typeNamed(name)
}

// declaration parses a named type from behind its name.
func (p *parser) declaration(t *Type) error {
	if t.Kind == Enum {
		at := p.tok.at
		word, err := p.expect(tokenWord, "the integer below the enum, as in: enum "+t.Name+" uint8 {")
		if err != nil {
			return err
		}
		kind, ok := builtin[word]
		if !ok || !kind.Integer() {
			return at.wrong("%q can't be below an enum: take one of int8 to int64, uint8 to uint64", word)
		}
		t.Elem = &Type{Kind: kind}
	}
	return p.body(&t.Doc, func() error {
		if t.Kind == Enum {
			return p.value(t)
		}
		return p.field(t)
	})
}

// body parses { lines } and the comments around them.
func (p *parser) body(doc *string, line func() error) error {
	if _, err := p.expect('{', "'{' on the same line"); err != nil {
		return err
	}
	if p.tok.kind == '}' {
		if err := p.advance(); err != nil {
			return err
		}
		return p.end(doc)
	}
	if err := p.end(doc); err != nil {
		return err
	}
	for {
		if err := p.blank(); err != nil {
			return err
		}
		switch {
		case p.tok.kind == tokenEnd:
			return p.tok.at.wrong("found the end of the text, want '}'")
		case p.tok.kind == '}' && len(p.docs) > 0:
			return p.tok.at.wrong("the comment before '}' describes nothing: put it above a declaration")
		case p.tok.kind == '}':
			if err := p.advance(); err != nil {
				return err
			}
			return p.newline()
		}
		if err := line(); err != nil {
			return err
		}
	}
}

// field parses NAME TYPE [unit "…"].
func (p *parser) field(t *Type) error {
	at := p.tok.at
	name, err := p.expect(tokenWord, "a field, as in: Price int64")
	if err != nil {
		return err
	}
	if len(t.Fields) == MaxFields {
		return at.wrong("more than %d fields: group them in structs", MaxFields)
	}
	p.places[subject{t, len(t.Fields)}] = at
	f := Field{Name: name}
	if f.Type, err = p.fieldType(0); err != nil {
		return err
	}
	if ok, err := p.word("unit"); err != nil {
		return err
	} else if ok {
		at := p.tok.at
		if f.Unit, err = p.expect(tokenString, `the unit in quotes, as in: unit "ns"`); err != nil {
			return err
		}
		if f.Unit == "" {
			return at.wrong("the unit is empty: leave it out")
		}
	}
	if err := p.end(&f.Doc); err != nil {
		return err
	}
	t.Fields = append(t.Fields, f)
	return nil
}

// value parses NAME = NUMBER.
func (p *parser) value(t *Type) error {
	at := p.tok.at
	name, err := p.expect(tokenWord, "a value, as in: Buy = 1")
	if err != nil {
		return err
	}
	if len(t.Values) == MaxValues {
		return at.wrong("more than %d values: an integer with a comment may be better", MaxValues)
	}
	p.places[subject{t, len(t.Values)}] = at
	v := Value{Name: name}
	if _, err := p.expect('=', "'=' and the value's number, as in: "+name+" = 1"); err != nil {
		return err
	}
	at = p.tok.at
	text, err := p.expect(tokenNumber, "the value's number")
	if err != nil {
		return err
	}
	if t.Elem.Kind == Uint64 {
		var n uint64
		n, err = strconv.ParseUint(text, 0, 64)
		v.Number = int64(n)
	} else {
		v.Number, err = strconv.ParseInt(text, 0, 64)
	}
	if err != nil {
		return at.wrong("%s is not a number that fits into %v", text, t.Elem.Kind)
	}
	if err := p.end(&v.Doc); err != nil {
		return err
	}
	t.Values = append(t.Values, v)
	return nil
}

// fieldType parses a type as a field has it.
func (p *parser) fieldType(depth int) (*Type, error) {
	at := p.tok.at
	if depth > MaxDepth {
		return nil, at.wrong("more than %d types lie within each other: flatten them", MaxDepth)
	}
	t := &Type{}
	switch p.tok.kind {
	case tokenWord:
		return p.typeWord()
	case '?':
		t.Kind = Optional
	case '[':
		if err := p.advance(); err != nil {
			return nil, err
		}
		if t.Kind = Slice; p.tok.kind == tokenNumber {
			n, err := strconv.ParseUint(p.tok.text, 10, 31)
			if err != nil || n == 0 {
				return nil, p.tok.at.wrong("%s is not the length of an array: at least 1, and at most %d bytes together", p.tok.text, MaxBlock)
			}
			t.Kind, t.Len = Array, int(n)
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		if p.tok.kind != ']' {
			return nil, p.tok.at.wrong("found %v, want ']': a slice is []T, an array of four is [4]T", p.tok)
		}
	default:
		return nil, at.wrong("found %v, want a type such as uint32, string, []T, [4]T, ?T or the name of a struct", p.tok)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	var err error
	t.Elem, err = p.fieldType(depth + 1)
	return t, err
}

// typeWord parses a type that is a word.
func (p *parser) typeWord() (*Type, error) {
	word, at := p.tok.text, p.tok.at
	if err := p.advance(); err != nil {
		return nil, err
	}
	if kind, ok := builtin[word]; ok {
		return &Type{Kind: kind}, nil
	}
	switch {
	case word == "map" || word == "Map":
		return nil, at.wrong("there are no maps: use a slice of structs with a key and a value, sorted by key if it is searched")
	case word == "unit" || word == "struct" || word == "union" || word == "enum":
		return nil, at.wrong("found %q, want a type: declare structs, unions and enums by name, at the top level", word)
	}
	return p.mention(word, at), nil
}

// builtin are the types that are words.
var builtin = func() map[string]Kind {
	words := map[string]Kind{}
	for kind := Bool; kind <= Bytes; kind++ {
		words[kind.String()] = kind
	}
	return words
}()

// unknownType says that nobody declares name, and what may have been meant.
func unknownType(at position, name string) error {
	for _, habit := range foreignTypes {
		for word := range strings.SplitSeq(habit.words, " ") {
			if word == strings.ToLower(name) {
				return at.wrong("%s is not a type: %s", name, habit.instead)
			}
		}
	}
	return at.wrong("%s is not declared: add struct, enum or union %s to this description", name, name)
}

// foreignTypes are the types of other languages, in small letters.
var foreignTypes = [...]struct{ words, instead string }{
	{"int long", "its size must be the same everywhere: write int32 or int64"},
	{"uint size_t usize isize uintptr unsigned", "its size must be the same everywhere: write uint32 or uint64"},
	{"i8", "write int8"},
	{"i16 short", "write int16"},
	{"i32 sint32 sfixed32", "write int32"},
	{"i64 sint64 sfixed64 varint", "write int64"},
	{"u8 byte char uchar", "write uint8, or bytes for any number of them"},
	{"u16 ushort", "write uint16"},
	{"u32 fixed32", "write uint32"},
	{"u64 fixed64", "write uint64"},
	{"rune", "write uint32, or string for text"},
	{"f32 float single", "write float32"},
	{"f64 double real", "write float64"},
	{"str text", "write string"},
	{"boolean bit", "write bool"},
	{"blob data buffer", "write bytes"},
	{"list vector vec array seq", "any number of T is []T, exactly four are [4]T"},
	{"dict hashmap table", "there are no maps: use a slice of structs with a key and a value, sorted by key if it is searched"},
	{"set", "use a slice, sorted if it is searched"},
	{"any object interface variant dynamic", "name what it may be in a union, or use bytes"},
	{"oneof", "declare a union and use its name"},
	{"optional option nullable", "a value that may be missing has the type ?T"},
	{"time timestamp datetime date duration", `write int64 with a unit, as in: At int64 unit "ns since 1970-01-01 UTC"`},
	{"decimal money currency", `write int64 with a unit, as in: Price int64 unit "1e-8 EUR"`},
	{"uuid guid", "write [16]uint8"},
	{"error", "errors are statuses of the call itself; a reply of its own may be a union"},
	{"complex64 complex128 complex", "declare a struct with two floats"},
	{"chan func stream", "streams are declared with the method: call NAME(Request, in ITEM, out ITEM) Reply"},
	{"int128 uint128 i128 u128", "write [16]uint8"},
	{"float16 half bfloat16", "write uint16 with a unit"},
	{"void empty unit nothing none", "leave it out: call NAME() has neither request nor reply"},
}
