package schematest

import (
	"math"
	"math/rand/v2"

	"github.com/cell-runtime/cell/schema"
)

// Datum returns a random value of type t, often one at a bound. Slices and
// texts are short; what lies deep within others is empty, so that the whole
// stays small. Floats are never NaN, so that equal values compare equal.
func Datum(r *rand.Rand, t *schema.Type) schema.Datum {
	budget := 500
	return datum(r, t, &budget)
}

func datum(r *rand.Rand, t *schema.Type, budget *int) schema.Datum {
	v := schema.Datum{Type: t}
	*budget--
	few := func() int {
		if *budget <= 0 {
			return 0
		}
		return r.IntN(4)
	}
	switch t.Kind {
	case schema.Struct:
		for _, f := range t.Fields {
			v.Items = append(v.Items, datum(r, f.Type, budget))
		}
	case schema.Array:
		for range t.Len {
			v.Items = append(v.Items, datum(r, t.Elem, budget))
		}
	case schema.Slice:
		for range few() {
			v.Items = append(v.Items, datum(r, t.Elem, budget))
		}
	case schema.Optional:
		if few() > 0 {
			v.Items = []schema.Datum{datum(r, t.Elem, budget)}
		}
	case schema.Union:
		if n := r.IntN(len(t.Fields) + 1); n > 0 && few() > 0 {
			v.Bits = uint64(n)
			v.Items = []schema.Datum{datum(r, t.Fields[n-1].Type, budget)}
		}
	case schema.String:
		v.Text = [...]string{"", "a", "Zelle", "ünï\u0000<&>\"", "a longer text, beyond a word"}[r.IntN(5)]
	case schema.Bytes:
		b := make([]byte, few())
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		v.Text = string(b)
	case schema.Enum:
		v.Bits = number(r, t.Elem.Kind)
		if r.IntN(4) > 0 {
			v.Bits = uint64(t.Values[r.IntN(len(t.Values))].Number)
		}
	default:
		v.Bits = number(r, t.Kind)
	}
	return v
}

// number returns the bits of a scalar.
func number(r *rand.Rand, k schema.Kind) uint64 {
	size := 8 * k.ScalarSize()
	switch {
	case k == schema.Bool:
		return r.Uint64N(2)
	case k == schema.Float32:
		f := [...]float32{0, 1, -1.5, math.MaxFloat32, math.SmallestNonzeroFloat32, float32(math.Inf(-1)), r.Float32()}
		return uint64(math.Float32bits(f[r.IntN(len(f))]))
	case k == schema.Float64:
		f := [...]float64{0, math.Copysign(0, -1), 1e300, math.SmallestNonzeroFloat64, math.Inf(1), r.NormFloat64()}
		return math.Float64bits(f[r.IntN(len(f))])
	case k.Signed():
		low := int64(-1) << (size - 1)
		n := [...]int64{0, 1, -1, low, ^low, int64(r.Uint64()) >> (64 - size)}
		return uint64(n[r.IntN(len(n))])
	}
	high := uint64(math.MaxUint64) >> (64 - size)
	n := [...]uint64{0, 1, high, r.Uint64() & high}
	return n[r.IntN(len(n))]
}
