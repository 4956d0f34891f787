package schema

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
)

// MarshalJSON returns v as JSON; see [Datum.AppendJSON].
func (v Datum) MarshalJSON() ([]byte, error) { return v.AppendJSON(nil), nil }

// AppendJSON appends v to b as JSON, as docs/SCHEMA.md describes: numbers with
// all their digits, also beyond 2^53, enums by name where their number has
// one, bytes in base64, an optional or union without value as null. Strings
// that are not UTF-8 get U+FFFD in its place; everything else comes back from
// [Codec.ParseJSON] as it was, but for the payloads of NaNs.
func (v Datum) AppendJSON(b []byte) []byte {
	if v.Type == nil {
		return append(b, "null"...)
	}
	switch v.Type.Kind {
	case Struct:
		b = append(b, '{')
		for i, item := range v.Items {
			if i >= len(v.Type.Fields) {
				break
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = appendMember(b, v.Type.Fields[i].Name, item)
		}
		return append(b, '}')
	case Array, Slice:
		b = append(b, '[')
		for i, item := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.AppendJSON(b)
		}
		return append(b, ']')
	case Optional:
		if len(v.Items) == 1 {
			return v.Items[0].AppendJSON(b)
		}
	case Union:
		if name, value, ok := v.Chosen(); ok {
			return append(appendMember(append(b, '{'), name, value), '}')
		}
	case Enum:
		if name := v.Name(); name != "" {
			return append(append(append(b, '"'), name...), '"')
		}
		return appendInteger(b, v.Type.Elem, v.Bits)
	case String:
		quoted, _ := json.Marshal(v.Text) // strings can be marshalled always
		return append(b, quoted...)
	case Bytes:
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), []byte(v.Text)), '"')
	case Bool:
		return strconv.AppendBool(b, v.Bits != 0)
	case Float32, Float64:
		return v.appendFloat(b)
	default:
		return appendInteger(b, v.Type, v.Bits)
	}
	return append(b, "null"...)
}

// appendMember appends "name":value; names are ASCII identifiers.
func appendMember(b []byte, name string, value Datum) []byte {
	b = append(append(append(b, '"'), name...), '"', ':')
	return value.AppendJSON(b)
}

func appendInteger(b []byte, t *Type, bits uint64) []byte {
	if t != nil && t.Kind.Signed() {
		return strconv.AppendInt(b, int64(bits), 10)
	}
	return strconv.AppendUint(b, bits, 10)
}

// The words for floats that JSON has no number for.
const (
	jsonNaN      = "NaN"
	jsonInfinity = "Infinity"
)

func (v Datum) appendFloat(b []byte) []byte {
	f := v.Float()
	switch {
	case math.IsNaN(f):
		return append(b, `"`+jsonNaN+`"`...)
	case math.IsInf(f, 1):
		return append(b, `"`+jsonInfinity+`"`...)
	case math.IsInf(f, -1):
		return append(b, `"-`+jsonInfinity+`"`...)
	}
	size := 64
	if v.Type.Kind == Float32 {
		size = 32
	}
	// The shortest digits that give the same number again, as encoding/json
	// writes them.
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, size)
}
