package schema

const (
	// prefixSize is the u32 block length that begins a message with variable
	// parts.
	prefixSize = 4
	// referenceSize is {u32 offset, u32 count}: a string, bytes or a slice in
	// place. Its alignment is that of its halves.
	referenceSize  = 8
	referenceAlign = 4
	// tagSize is the u32 that says which alternative a union holds.
	tagSize = 4
)

// Layout is where things lie in memory. All sizes and offsets are in bytes,
// all numbers little endian. Layouts are immutable and share what they have in
// common; don't write to them.
type Layout struct {
	Type *Type

	// Size is what a value takes in place, a multiple of Align: a struct's
	// whole block, 8 for the reference that stands for a string, bytes or
	// slice. For a message's root it is the block length.
	Size  int
	Align int // 1, 2, 4 or 8

	// Fixed says that nothing in it, however deep, is of variable length.
	Fixed bool
	// Depth counts the structs, unions, arrays, slices and optionals within
	// each other; 0 for scalars, enums, strings and bytes.
	Depth int

	// Prefix is 4 for the root of a message with variable parts, which begins
	// with its block length as u32; else 0.
	Prefix int

	// Fields are a struct's fields or a union's alternatives, in order.
	Fields []*Layout
	// Offsets of a struct's fields from the beginning of its block.
	Offsets []int
	// Value is the offset of an optional's value, or of a union's, whichever
	// alternative it is. The u8 presence or u32 tag is at 0.
	Value int
	// Elem is the element of an array or slice, or an optional's value.
	Elem *Layout
}

// LayoutOf returns the layout of t as a field or element, in place. The error
// wraps [ErrInvalid]; a type of a validated schema has none.
func LayoutOf(t *Type) (*Layout, error) {
	return newLayouter().of(t)
}

// RootLayout returns the layout of t, a struct, as a message: like that of a
// struct in place when all of it is fixed, else as if a uint32, the block
// length, stood before the first field.
func RootLayout(t *Type) (*Layout, error) { return newLayouter().root(t) }

// layouter remembers the layouts of named types, so that types which use each
// other many times over cost no more than they have lines.
type layouter struct {
	done   map[*Type]*Layout
	active []*Type // named types, outermost first
}

func newLayouter() *layouter { return &layouter{done: map[*Type]*Layout{}} }

func (l *layouter) root(t *Type) (*Layout, error) {
	if t == nil || t.Kind != Struct {
		return nil, broken("a message must be a struct")
	}
	inPlace, err := l.of(t)
	if err != nil || inPlace.Fixed {
		return inPlace, err
	}
	root := *inPlace
	root.Prefix = prefixSize
	if err := root.place(prefixSize, prefixSize); err != nil {
		return nil, placed(err, t, -1, t.Name)
	}
	return &root, nil
}

func (l *layouter) of(t *Type) (*Layout, error) {
	if t == nil {
		return nil, broken("a type is missing")
	}
	if done := l.done[t]; done != nil {
		return done, nil
	}
	for i, outer := range l.active {
		if outer == t {
			return nil, recursion(l.active[i:])
		}
	}
	if len(l.active) > MaxDepth {
		return nil, tooDeep()
	}
	l.active = append(l.active, t)
	layout, err := l.lay(t)
	l.active = l.active[:len(l.active)-1]
	if err != nil {
		return nil, err
	}
	if layout.Depth > MaxDepth {
		return nil, tooDeep()
	}
	l.done[t] = layout
	return layout, nil
}

func (l *layouter) lay(t *Type) (*Layout, error) {
	switch {
	case t.Kind.Scalar():
		n := t.Kind.ScalarSize()
		return &Layout{Type: t, Size: n, Align: n, Fixed: true}, nil
	case t.Kind == String, t.Kind == Bytes:
		return &Layout{Type: t, Size: referenceSize, Align: referenceAlign}, nil
	case t.Kind == Enum:
		if t.Elem == nil || !t.Elem.Kind.Integer() {
			return nil, placed(broken("its type must be an integer of fixed width, such as uint8"), t, -1, "enum "+t.Name)
		}
		n := t.Elem.Kind.ScalarSize()
		return &Layout{Type: t, Size: n, Align: n, Fixed: true}, nil
	case t.Kind == Array, t.Kind == Slice, t.Kind == Optional:
		return l.container(t)
	case t.Kind == Struct, t.Kind == Union:
		return l.fields(t)
	}
	return nil, broken("unknown %v", t.Kind)
}

// container lays out arrays, slices and optionals.
func (l *layouter) container(t *Type) (*Layout, error) {
	elem, err := l.of(t.Elem)
	if err != nil {
		return nil, err
	}
	if elem.Size == 0 {
		return nil, broken("%s %s has no fields, so there is nothing to hold: count with a uint32, or use bool", t.Kind, t.Elem.Name)
	}
	layout := &Layout{Type: t, Elem: elem, Depth: elem.Depth + 1, Fixed: elem.Fixed, Align: elem.Align}
	switch t.Kind {
	case Slice:
		layout.Fixed, layout.Size, layout.Align = false, referenceSize, referenceAlign
	case Optional:
		layout.Value = roundUp(1, elem.Align)
		layout.Size = layout.Value + elem.Size
	case Array:
		if t.Len < 1 || t.Len > MaxBlock/elem.Size {
			return nil, broken("an array of %d elements of %d bytes: it must have at least one, and at most %d bytes together; use a slice or bytes", t.Len, elem.Size, MaxBlock)
		}
		layout.Size = t.Len * elem.Size
	}
	if layout.Size = roundUp(layout.Size, layout.Align); layout.Size > MaxBlock {
		return nil, tooLarge()
	}
	return layout, nil
}

// fields lays out structs and unions, in place.
func (l *layouter) fields(t *Type) (*Layout, error) {
	layout := &Layout{Type: t, Fixed: true, Align: 1, Fields: make([]*Layout, len(t.Fields))}
	for i, f := range t.Fields {
		of, err := l.of(f.Type)
		if err != nil {
			return nil, placed(err, t, i, t.Name+"."+f.Name)
		}
		if of.Size == 0 && t.Kind == Struct {
			return nil, placed(broken("struct %s has no fields, so there is nothing to hold: leave the field out, or use bool", f.Type.Name), t, i, t.Name+"."+f.Name)
		}
		layout.Fields[i] = of
		layout.Fixed = layout.Fixed && of.Fixed
		layout.Depth = max(layout.Depth, of.Depth)
	}
	layout.Depth++
	if t.Kind == Struct {
		return layout, placed(layout.place(0, 1), t, -1, t.Name)
	}
	size := 0
	for _, of := range layout.Fields {
		layout.Align = max(layout.Align, of.Align)
		size = max(size, of.Size)
	}
	layout.Value = roundUp(tagSize, layout.Align)
	layout.Align = max(layout.Align, tagSize)
	if layout.Size = roundUp(layout.Value+size, layout.Align); layout.Size > MaxBlock {
		return nil, placed(tooLarge(), t, -1, t.Name)
	}
	return layout, nil
}

// place puts a struct's fields one behind the other from offset on, each at
// its alignment, and rounds the whole up, as C does.
func (l *Layout) place(offset, align int) error {
	l.Offsets = make([]int, len(l.Fields))
	for i, f := range l.Fields {
		offset = roundUp(offset, f.Align)
		l.Offsets[i] = offset
		offset += f.Size
		align = max(align, f.Align)
		if offset > MaxBlock {
			return tooLarge()
		}
	}
	l.Align = align
	if l.Size = roundUp(offset, align); l.Size > MaxBlock {
		return tooLarge()
	}
	return nil
}

// roundUp returns n or the next multiple of align, a power of two.
func roundUp(n, align int) int { return (n + align - 1) &^ (align - 1) }

func tooLarge() error {
	return broken("it takes more than %d bytes in place: use a slice or bytes for what is large", MaxBlock)
}

func tooDeep() error {
	return broken("more than %d types lie within each other: flatten them", MaxDepth)
}

func recursion(path []*Type) error {
	way := ""
	for _, t := range path {
		if t.Kind.Named() {
			way += t.Name + " → "
		}
	}
	return broken("%s%s: a type can't contain itself: keep the parts in one slice and refer to them by index", way, path[0].Name)
}
