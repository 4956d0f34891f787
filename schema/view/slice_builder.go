package view

import "github.com/cell-runtime/cell/bulk"

// SliceBuilder is a list of numbers in place, to be written. Its elements are
// zero until they are set.
type SliceBuilder[T Scalar] struct {
	lease Lease
	b     []byte
}

// BuildSlice returns the list of the numbers in b, to be written until lease
// ends.
func BuildSlice[T Scalar](b []byte, lease Lease) SliceBuilder[T] {
	return SliceBuilder[T]{lease, b}
}

// Len returns the number of elements, 0 where they did not fit.
func (s SliceBuilder[T]) Len() int { return len(s.b) / sizeOf[T]() }

// Set sets element i. Where the list did not fit it does nothing; any other
// index out of range panics.
func (s SliceBuilder[T]) Set(i int, x T) {
	s.lease.Use()
	if len(s.b) == 0 {
		return
	}
	n := sizeOf[T]()
	store(s.b[i*n:i*n+n], x)
}

// CopyFrom sets the first elements to those of src, as many as fit, and
// returns their number.
func (s SliceBuilder[T]) CopyFrom(src []T) int {
	s.lease.Use()
	n := min(len(src), s.Len())
	storeAll(s.b, src[:n])
	return n
}

// PutSlice writes a list of numbers and notes it in the reference ref.
func PutSlice[T Scalar](a *Arena, ref []byte, src []T) {
	size := sizeOf[T]()
	if b := a.part(ref, len(src), size, size); b != nil {
		storeAll(b, src)
	}
}

// BoolsBuilder is a list of bools in place, to be written. Its elements are
// false until they are set.
type BoolsBuilder struct {
	lease Lease
	b     []byte
}

// BuildBools returns the list of the bools in b, to be written until lease
// ends.
func BuildBools(b []byte, lease Lease) BoolsBuilder { return BoolsBuilder{lease, b} }

// Len returns the number of elements, 0 where they did not fit.
func (s BoolsBuilder) Len() int { return len(s.b) }

// Set sets element i. Where the list did not fit it does nothing; any other
// index out of range panics.
func (s BoolsBuilder) Set(i int, x bool) {
	s.lease.Use()
	if len(s.b) != 0 {
		s.b[i] = Bit(x)
	}
}

// CopyFrom sets the first elements to those of src, as many as fit, and
// returns their number.
func (s BoolsBuilder) CopyFrom(src []bool) int {
	n := min(len(src), len(s.b))
	for i, x := range src[:n] {
		s.Set(i, x)
	}
	return n
}

// Bit returns the byte that stands for x.
func Bit(x bool) byte {
	if x {
		return 1
	}
	return 0
}

// TextsBuilder is a list of strings or bytes in place, to be written. Its
// elements are empty until they are set.
type TextsBuilder struct {
	lease Lease
	a     *Arena
	b     []byte // the references
}

// BuildTexts returns the list of strings or bytes whose references are refs,
// to be written until lease ends.
func BuildTexts(a *Arena, refs []byte, lease Lease) TextsBuilder {
	return TextsBuilder{lease, a, refs}
}

// Len returns the number of elements, 0 where they did not fit.
func (s TextsBuilder) Len() int { return len(s.b) / RefSize }

// Set sets element i. Where the list did not fit it does nothing; any other
// index out of range panics.
func (s TextsBuilder) Set(i int, text string) { bulk.Copy(s.Make(i, len(text)), bytesOf(text)) }

// Make makes room for n bytes in element i and returns it; every byte must be
// written. It returns nil where there is no room.
func (s TextsBuilder) Make(i, n int) []byte {
	s.lease.Use()
	return s.a.Text(Place(s.b, i, RefSize), n)
}

// CopyTexts sets the first elements of s to those of src, as many as fit.
func CopyTexts[S ~string | ~[]byte](s TextsBuilder, src []S) {
	for i := range min(len(src), s.Len()) {
		copy(s.Make(i, len(src[i])), src[i])
	}
}
