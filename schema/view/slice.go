package view

import "iter"

// Scalar is what a [Slice] may hold. Enums are integers.
type Scalar interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// Slice is a list of numbers in place, little endian, to be read.
type Slice[T Scalar] struct {
	lease Lease
	b     []byte
}

// SliceOver returns the list of the numbers in b, to be read until lease ends.
func SliceOver[T Scalar](b []byte, lease Lease) Slice[T] { return Slice[T]{lease, b} }

// Len returns the number of elements.
func (s Slice[T]) Len() int { return len(s.b) / sizeOf[T]() }

// At returns element i, 0 if there is none.
func (s Slice[T]) At(i int) T {
	s.lease.Use()
	n := sizeOf[T]()
	if uint(i) < uint(len(s.b)/n) {
		return load[T](s.b[i*n:])
	}
	return 0
}

// All yields indexes and elements in order.
func (s Slice[T]) All() iter.Seq2[int, T] {
	return func(yield func(int, T) bool) {
		for i := range s.Len() {
			if !yield(i, s.At(i)) {
				return
			}
		}
	}
}

// AppendTo appends the elements to dst, in one copy where the host is little
// endian.
func (s Slice[T]) AppendTo(dst []T) []T {
	s.lease.Use()
	return appendAll(dst, s.b)
}

// CopyTo copies as many elements as fit into dst and returns their number.
func (s Slice[T]) CopyTo(dst []T) int {
	n := min(len(dst), s.Len())
	s.Sub(0, n).AppendTo(dst[:0])
	return n
}

// Sub returns the elements from up to, but without, to; fewer if there are
// fewer.
func (s Slice[T]) Sub(from, to int) Slice[T] {
	to = min(max(to, 0), s.Len())
	from = min(max(from, 0), to)
	n := sizeOf[T]()
	return Slice[T]{s.lease, s.b[from*n : to*n : to*n]}
}

// Bytes returns the elements as they lie in the message, to be read for as
// long as the message may.
func (s Slice[T]) Bytes() []byte {
	s.lease.Use()
	return s.b
}

// Bools is a list of bools in place, to be read.
type Bools struct {
	lease Lease
	b     []byte
}

// BoolsOver returns the list of the bools in b, to be read until lease ends.
func BoolsOver(b []byte, lease Lease) Bools { return Bools{lease, b} }

// Len returns the number of elements.
func (s Bools) Len() int { return len(s.b) }

// At returns element i, false if there is none.
func (s Bools) At(i int) bool {
	s.lease.Use()
	return uint(i) < uint(len(s.b)) && s.b[i] != 0
}

// All yields indexes and elements in order.
func (s Bools) All() iter.Seq2[int, bool] {
	return func(yield func(int, bool) bool) {
		for i := range s.b {
			if !yield(i, s.At(i)) {
				return
			}
		}
	}
}

// AppendTo appends the elements to dst.
func (s Bools) AppendTo(dst []bool) []bool {
	for i := range s.b {
		dst = append(dst, s.At(i))
	}
	return dst
}

// CopyTo copies as many elements as fit into dst and returns their number.
func (s Bools) CopyTo(dst []bool) int {
	n := min(len(dst), len(s.b))
	for i := range dst[:n] {
		dst[i] = s.At(i)
	}
	return n
}

// Texts is a list of strings or bytes in place, to be read.
type Texts struct {
	lease Lease
	msg   []byte
	b     []byte // the references
}

// TextsOver returns the list of what the references in refs, of RefSize bytes
// each, point to in msg, to be read until lease ends.
func TextsOver(msg, refs []byte, lease Lease) Texts { return Texts{lease, msg, refs} }

// Len returns the number of elements.
func (s Texts) Len() int { return len(s.b) / RefSize }

// At returns the bytes of element i in place, nil if it is empty or there is
// none. They may be read for as long as the message may.
func (s Texts) At(i int) []byte {
	s.lease.Use()
	return Text(s.msg, Element(s.b, i, RefSize))
}

// All yields indexes and elements in order.
func (s Texts) All() iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for i := range s.Len() {
			if !yield(i, s.At(i)) {
				return
			}
		}
	}
}
