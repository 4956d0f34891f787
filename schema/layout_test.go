package schema

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func scalar(k Kind) *Type              { return &Type{Kind: k} }
func sliceOf(t *Type) *Type            { return &Type{Kind: Slice, Elem: t} }
func optionalOf(t *Type) *Type         { return &Type{Kind: Optional, Elem: t} }
func arrayOf(n int, t *Type) *Type     { return &Type{Kind: Array, Len: n, Elem: t} }
func field(name string, t *Type) Field { return Field{Name: name, Type: t} }
func structOf(name string, fields ...Field) *Type {
	return &Type{Kind: Struct, Name: name, Fields: fields}
}
func unionOf(name string, fields ...Field) *Type {
	return &Type{Kind: Union, Name: name, Fields: fields}
}

func TestRootLayout(t *testing.T) {
	pair := structOf("Pair", field("A", scalar(Uint8)), field("B", scalar(Uint32)))
	text := structOf("Text", field("S", scalar(String)))
	for _, c := range []struct {
		name    string
		fields  []Field
		size    int
		align   int
		prefix  int
		offsets []int
	}{
		{"no field", nil, 0, 1, 0, []int{}},
		{"one byte", []Field{field("A", scalar(Bool))}, 1, 1, 0, []int{0}},
		{"padding between and behind", []Field{field("A", scalar(Uint8)), field("B", scalar(Uint64)), field("C", scalar(Uint16))}, 24, 8, 0, []int{0, 8, 16}},
		{"struct in place", []Field{field("A", scalar(Uint8)), field("P", pair), field("B", scalar(Uint8))}, 16, 4, 0, []int{0, 4, 12}},
		{"array", []Field{field("A", arrayOf(3, scalar(Uint8))), field("B", arrayOf(2, scalar(Int16)))}, 8, 2, 0, []int{0, 4}},
		{"optional of one byte", []Field{field("A", optionalOf(scalar(Uint8))), field("B", scalar(Uint8))}, 3, 1, 0, []int{0, 2}},
		{"optional of eight bytes", []Field{field("A", optionalOf(scalar(Float64)))}, 16, 8, 0, []int{0}},
		{"union", []Field{field("A", scalar(Uint8)), field("U", unionOf("U", field("X", scalar(Uint8)), field("Y", scalar(Uint64))))}, 24, 8, 0, []int{0, 8}},
		{"union of small ones", []Field{field("U", unionOf("U", field("X", scalar(Uint8)), field("E", structOf("Empty"))))}, 8, 4, 0, []int{0}},
		{"string", []Field{field("A", scalar(Uint8)), field("S", scalar(String))}, 16, 4, 4, []int{4, 8}},
		{"first field of eight bytes behind the prefix", []Field{field("A", scalar(Uint64)), field("S", sliceOf(scalar(Uint64)))}, 24, 8, 4, []int{8, 16}},
		{"string within a struct", []Field{field("T", text)}, 12, 4, 4, []int{4}},
		{"optional string", []Field{field("O", optionalOf(scalar(String)))}, 16, 4, 4, []int{4}},
		{"slice of fixed is variable", []Field{field("S", sliceOf(pair))}, 12, 4, 4, []int{4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := RootLayout(structOf("M", c.fields...))
			if err != nil {
				t.Fatal(err)
			}
			if l.Size != c.size || l.Align != c.align || l.Prefix != c.prefix || !reflect.DeepEqual(l.Offsets, c.offsets) {
				t.Errorf("size %d align %d prefix %d offsets %v, want %d %d %d %v",
					l.Size, l.Align, l.Prefix, l.Offsets, c.size, c.align, c.prefix, c.offsets)
			}
			if l.Fixed != (c.prefix == 0) {
				t.Errorf("fixed %v with prefix %d", l.Fixed, l.Prefix)
			}
		})
	}
}

func TestLayoutRefuses(t *testing.T) {
	node := structOf("Node")
	node.Fields = []Field{field("Children", sliceOf(node))}
	deep := scalar(Uint32)
	for range MaxDepth {
		deep = sliceOf(deep)
	}
	huge := arrayOf(MaxBlock, scalar(Uint8))
	for _, c := range []struct {
		name string
		root *Type
		says string
	}{
		{"no struct", scalar(Uint8), "must be a struct"},
		{"nil", nil, "must be a struct"},
		{"recursion", node, "Node.Children: Node → Node: a type can't contain itself"},
		{"too deep", structOf("M", field("D", deep)), "M.D: more than 16"},
		{"too large", structOf("M", field("A", huge), field("B", scalar(Uint8))), "M: it takes more than"},
		{"array too large", structOf("M", field("A", arrayOf(3, huge))), "M.A: an array of 3 elements"},
		{"array of none", structOf("M", field("A", arrayOf(0, scalar(Uint8)))), "at least one"},
		{"slice of empty", structOf("M", field("A", sliceOf(structOf("Empty")))), "Empty has no fields"},
		{"field of an empty struct", structOf("M", field("A", structOf("Empty"))), "Empty has no fields"},
		{"no type", structOf("M", field("A", nil)), "M.A: a type is missing"},
		{"enum of floats", structOf("M", field("A", &Type{Kind: Enum, Name: "E", Elem: scalar(Float32)})), "integer of fixed width"},
		{"unknown kind", structOf("M", field("A", scalar(99))), "unknown kind 99"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := RootLayout(c.root)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want ErrInvalid with %q", err, c.says)
			}
		})
	}
}

// Types that use each other twice at each level have exponentially many
// paths; their layout must not.
func TestLayoutOfManyPaths(t *testing.T) {
	inner := scalar(Uint8)
	for range MaxDepth {
		var fields []Field
		for range 2 {
			fields = append(fields, field("F", inner))
		}
		inner = structOf("S", fields...)
	}
	l, err := RootLayout(inner)
	if err != nil || l.Size != 1<<MaxDepth {
		t.Fatalf("%v, %v", l, err)
	}
}
