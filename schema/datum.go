package schema

import "math"

// Datum is a value of any type. What its parts hold depends on the kind:
//
//	Bool             Bits is 0 or 1
//	integers, Enum   Bits is the number, signed ones extended to 64 bits
//	Float32, Float64 Bits is the number's IEEE 754 form
//	String, Bytes    Text is the bytes, which need not be UTF-8
//	Array, Slice     Items are the elements
//	Optional         Items is the value, or empty
//	Struct           Items are the fields in order
//	Union            Bits counts the alternative from 1, and Items is its
//	                 value; 0 and empty for none
type Datum struct {
	Type  *Type
	Bits  uint64
	Text  string
	Items []Datum
}

// Int returns a signed integer, or an enum over one.
func (v Datum) Int() int64 { return int64(v.Bits) }

// Float returns a float of either size.
func (v Datum) Float() float64 {
	if v.Type != nil && v.Type.Kind == Float32 {
		return float64(math.Float32frombits(uint32(v.Bits)))
	}
	return math.Float64frombits(v.Bits)
}

// Field returns the field of that name of a struct, and whether there is one.
func (v Datum) Field(name string) (Datum, bool) {
	if v.Type != nil && v.Type.Kind == Struct {
		for i, f := range v.Type.Fields {
			if f.Name == name && i < len(v.Items) {
				return v.Items[i], true
			}
		}
	}
	return Datum{}, false
}

// Chosen returns the name and value of the alternative that a union holds, and
// whether it holds one.
func (v Datum) Chosen() (name string, value Datum, ok bool) {
	if v.Type == nil || v.Type.Kind != Union || v.Bits == 0 || v.Bits > uint64(len(v.Type.Fields)) || len(v.Items) != 1 {
		return "", Datum{}, false
	}
	return v.Type.Fields[v.Bits-1].Name, v.Items[0], true
}

// Name returns the name of an enum's value, "" when its number has none.
func (v Datum) Name() string {
	if v.Type != nil && v.Type.Kind == Enum {
		for _, named := range v.Type.Values {
			if uint64(named.Number) == v.Bits {
				return named.Name
			}
		}
	}
	return ""
}
