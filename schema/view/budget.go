package view

import "fmt"

// Budget bounds what copying a message out of its memory may cost. Parts of a
// malformed message may overlap, so that together they are longer than the
// message; a hostile peer may make them so even after a check. Generated
// DecodeCell methods use it.
type Budget struct {
	left  int
	spent bool
}

// NewBudget returns the budget for a message of n bytes: each of them may be
// copied once.
func NewBudget(n int) Budget { return Budget{left: n} }

// Spend takes n bytes out of the budget and reports whether it had them.
func (d *Budget) Spend(n int) bool {
	if n > d.left {
		d.left, d.spent = 0, true
		return false
	}
	d.left -= n
	return true
}

// Err says whether the budget was enough. The error wraps [ErrOverlap].
func (d *Budget) Err() error {
	if d.spent {
		return fmt.Errorf("%w: together they have more bytes than the message", ErrOverlap)
	}
	return nil
}

// CopyString returns the text b as a string of its own.
func (d *Budget) CopyString(b []byte) string {
	if !d.Spend(len(b)) {
		return ""
	}
	return string(b)
}

// CopyBytes returns a copy of b, nil if it is empty.
func (d *Budget) CopyBytes(b []byte) []byte {
	if len(b) == 0 || !d.Spend(len(b)) {
		return nil
	}
	return append([]byte(nil), b...)
}

// CopySlice returns a copy of the numbers of s, nil if there are none.
func CopySlice[T Scalar](d *Budget, s Slice[T]) []T {
	if len(s.b) == 0 || !d.Spend(len(s.b)) {
		return nil
	}
	return s.AppendTo(nil)
}

// CopyBools returns a copy of the bools of s, nil if there are none.
func (d *Budget) CopyBools(s Bools) []bool {
	if len(s.b) == 0 || !d.Spend(len(s.b)) {
		return nil
	}
	return s.AppendTo(make([]bool, 0, len(s.b)))
}

// MakeSlice returns a slice for n elements that take size bytes each in the
// message, nil if there are none.
func MakeSlice[T any](d *Budget, n, size int) []T {
	if n == 0 || !d.Spend(n*size) {
		return nil
	}
	return make([]T, n)
}
