package schema

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// FromJSON returns the message that the JSON text describes; it is ParseJSON
// and Encode.
func (c *Codec) FromJSON(text []byte) ([]byte, error) {
	v, err := c.ParseJSON(text)
	if err != nil {
		return nil, err
	}
	return c.Encode(v)
}

// ToJSON returns msg as JSON; it is Decode and AppendJSON.
func (c *Codec) ToJSON(msg []byte, minimum int) ([]byte, error) {
	v, err := c.Decode(msg, minimum)
	if err != nil {
		return nil, err
	}
	return v.AppendJSON(nil), nil
}

// ParseJSON reads a value of the codec's type, written as [Datum.AppendJSON]
// writes it. Besides, it takes integers as strings, enums by number, and
// null or a missing field for what is zero, empty or none, and alternatives
// that are null beside the one that isn't. A field that the
// type does not have, or one that is there twice, is an error, as is a number
// that does not fit exactly. Errors wrap [ErrValue], or [ErrMessageLimit].
func (c *Codec) ParseJSON(text []byte) (Datum, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	p := jsonParser{decoder: d, reader: reader{values: c.Limit}}
	v, err := p.value(c.root)
	if err != nil {
		return Datum{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Datum{}, unfit("something follows the value")
	}
	return v, nil
}

// jsonParser reads tokens by the type, so that nothing nests deeper than that.
type jsonParser struct {
	decoder *json.Decoder
	reader  // counts values, and makes those that are missing
}

// token returns the next token: a json.Delim, json.Number, string, bool or nil.
func (p *jsonParser) token() (json.Token, error) {
	token, err := p.decoder.Token()
	switch {
	case errors.Is(err, io.EOF):
		return nil, unfit("the JSON text ends too early")
	case err != nil:
		return nil, unfit("no JSON: %v", err)
	}
	return token, nil
}

// value parses a value of that type.
func (p *jsonParser) value(l *Layout) (Datum, error) {
	token, err := p.token()
	if err != nil {
		return Datum{}, err
	}
	return p.from(l, token)
}

// from parses a value of which token is the first.
func (p *jsonParser) from(l *Layout, token json.Token) (Datum, error) {
	t := l.Type
	if token == nil {
		return p.reader.value(l, absent)
	}
	v := Datum{Type: t}
	var err error
	switch t.Kind {
	case Struct:
		return p.structure(l, token)
	case Union:
		return p.union(l, token)
	case Array, Slice:
		return p.array(l, token)
	case Optional:
		if err := p.take(1); err != nil {
			return v, err
		}
		item, err := p.from(l.Elem, token)
		v.Items = []Datum{item}
		return v, err
	case Enum:
		v.Bits, err = parseEnum(t, token)
	case Bool:
		if token == true {
			v.Bits = 1
		} else if token != false {
			err = mismatch(token, "true or false")
		}
	case Float32, Float64:
		v.Bits, err = parseFloat(t.Kind, token)
	case String:
		var ok bool
		if v.Text, ok = token.(string); !ok {
			err = mismatch(token, "a string")
		}
	case Bytes:
		v.Text, err = parseBytes(token)
	default:
		v.Bits, err = parseInteger(t.Kind, token)
	}
	return v, err
}

// mismatch says that there is something else than what was wanted.
func mismatch(token json.Token, want string) error {
	if text, ok := token.(string); ok {
		return unfit("%.40q, want %s", text, want)
	}
	return unfit("%v, want %s", token, want)
}

func (p *jsonParser) structure(l *Layout, token json.Token) (Datum, error) {
	if token != json.Delim('{') {
		return Datum{}, mismatch(token, "an object with the fields of "+l.Type.Name)
	}
	v, err := p.reader.structure(l)
	if err != nil {
		return v, err
	}
	given := make([]bool, len(l.Fields))
	err = p.members(l, func(i int) error {
		if given[i] {
			return unfit("it is there twice")
		}
		given[i] = true
		v.Items[i], err = p.value(l.Fields[i])
		return err
	})
	if err != nil {
		return v, err
	}
	for i, f := range l.Fields {
		if given[i] {
			continue
		}
		if v.Items[i], err = p.reader.value(f, absent); err != nil {
			return v, within(err, l, i)
		}
	}
	return v, nil
}

// members parses an object from behind its brace and calls member for each,
// with the number of the field that is to be parsed.
func (p *jsonParser) members(l *Layout, member func(i int) error) error {
	for {
		token, err := p.token()
		if err != nil {
			return err
		}
		if token == json.Delim('}') {
			return nil
		}
		name, _ := token.(string) // the decoder lets nothing else through
		i := slices.IndexFunc(l.Type.Fields, func(f Field) bool { return f.Name == name })
		if i < 0 {
			return unfit("%s has no field %.80q%s", l.Type.Name, name, meant(l.Type, name))
		}
		if err := member(i); err != nil {
			return within(err, l, i)
		}
	}
}

// meant suggests the field that differs in case and underscores alone.
func meant(t *Type, name string) string {
	fold := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }
	for _, f := range t.Fields {
		if fold(f.Name) == fold(name) {
			return ", but " + f.Name
		}
	}
	return ""
}

func (p *jsonParser) union(l *Layout, token json.Token) (Datum, error) {
	v := Datum{Type: l.Type}
	if token != json.Delim('{') {
		return v, mismatch(token, "null, or an object with one alternative of "+l.Type.Name)
	}
	nulls, null := 0, 0
	err := p.members(l, func(i int) error {
		token, err := p.token()
		switch {
		case err != nil:
			return err
		case token == nil:
			nulls, null = nulls+1, i
			return nil
		case v.Bits != 0:
			return unfit("it is the second alternative, and a union holds one")
		}
		return p.choose(l, &v, i, token)
	})
	// Beside others null means: not this one. Alone it is the alternative's
	// value.
	if err == nil && v.Bits == 0 && nulls == 1 {
		err = within(p.choose(l, &v, null, nil), l, null)
	}
	return v, err
}

// choose makes v hold alternative i, of which token is the first.
func (p *jsonParser) choose(l *Layout, v *Datum, i int, token json.Token) error {
	if err := p.take(1); err != nil {
		return err
	}
	item, err := p.from(l.Fields[i], token)
	v.Bits, v.Items = uint64(i+1), []Datum{item}
	return err
}

func (p *jsonParser) array(l *Layout, token json.Token) (Datum, error) {
	v := Datum{Type: l.Type}
	if token != json.Delim('[') {
		return v, mismatch(token, "a list")
	}
	for {
		token, err := p.token()
		if err != nil {
			return v, err
		}
		if token == json.Delim(']') {
			break
		}
		if err := p.take(1); err != nil {
			return v, err
		}
		item, err := p.from(l.Elem, token)
		if err != nil {
			return v, withinElement(err, len(v.Items))
		}
		v.Items = append(v.Items, item)
	}
	if n := len(v.Items); l.Type.Kind == Array && n != l.Type.Len {
		return v, unfit("%d elements for an array of %d", n, l.Type.Len)
	}
	return v, nil
}

// parseInteger takes 12 and "12", since many languages can't read 64 bits as
// a number.
func parseInteger(k Kind, token json.Token) (bits uint64, err error) {
	var text string
	switch token := token.(type) {
	case json.Number:
		text = token.String()
	case string:
		text = token
	default:
		return 0, mismatch(token, "an integer")
	}
	size := 8 * k.ScalarSize()
	if k.Signed() {
		var n int64
		n, err = strconv.ParseInt(text, 10, size)
		bits = uint64(n)
	} else {
		bits, err = strconv.ParseUint(text, 10, size)
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, unfit("%.40s does not fit into %v", text, k)
	case err != nil:
		return 0, unfit("%.40q is not an integer in decimal digits", text)
	}
	return bits, nil
}

func parseEnum(t *Type, token json.Token) (uint64, error) {
	name, ok := token.(string)
	if !ok {
		return parseInteger(t.Elem.Kind, token)
	}
	for _, v := range t.Values {
		if v.Name == name {
			return uint64(v.Number), nil
		}
	}
	if bits, err := parseInteger(t.Elem.Kind, token); err == nil {
		return bits, nil
	}
	return 0, unfit("%s has no value %.80q", t.Name, name)
}

func parseFloat(k Kind, token json.Token) (uint64, error) {
	size := 8 * k.ScalarSize()
	var f float64
	var err error
	switch token := token.(type) {
	case json.Number:
		if f, err = strconv.ParseFloat(token.String(), size); err != nil {
			return 0, unfit("%.40s does not fit into %v", token, k)
		}
	case string:
		switch token {
		case jsonNaN:
			f = math.NaN()
		case jsonInfinity:
			f = math.Inf(1)
		case "-" + jsonInfinity:
			f = math.Inf(-1)
		default:
			return 0, mismatch(token, fmt.Sprintf("a number, %q, %q or %q", jsonNaN, jsonInfinity, "-"+jsonInfinity))
		}
	default:
		return 0, mismatch(token, "a number")
	}
	if k == Float32 {
		return uint64(math.Float32bits(float32(f))), nil
	}
	return math.Float64bits(f), nil
}

func parseBytes(token json.Token) (string, error) {
	text, ok := token.(string)
	if !ok {
		return "", mismatch(token, "bytes in base64")
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", unfit("%.40q is not base64: %v", text, err)
	}
	return string(b), nil
}
