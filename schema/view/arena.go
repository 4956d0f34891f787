package view

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/bulk"
)

// ErrSpace: the message does not fit the place that was given to build it in.
var ErrSpace = errors.New("message does not fit its place")

// MaxMessage is the greatest length of a message in bytes.
const MaxMessage = 1 << 30

// Arena is the place in which a message with variable parts is built. It hands
// out pieces from the front to the back. One that doesn't fit is noted and
// comes to light when the message is finished, so that builders need no error
// at every turn.
type Arena struct {
	msg  []byte
	next int // where the next part may begin
	need int // how long the message would have become when it didn't fit
}

// Begin begins a message in place, whose root block of n bytes the caller
// writes. The error wraps [ErrSpace].
func (a *Arena) Begin(place []byte, n int) error {
	*a = Arena{msg: place, next: n}
	if uint(len(place)-n) > MaxMessage/2 { // too small, or unusually large
		return a.trim()
	}
	return nil
}

// trim copes with places that are too small or larger than any message.
func (a *Arena) trim() error {
	if len(a.msg) < a.next {
		a.need = a.next
		return NoSpace(a.msg, a.next)
	}
	a.msg = a.msg[:min(len(a.msg), MaxMessage)]
	return nil
}

// NoSpace returns the error for a place in which a message of n bytes does not
// fit. It wraps [ErrSpace].
func NoSpace(place []byte, n int) error {
	return fmt.Errorf("%w: it takes at least %d bytes and there are %d: ask for a larger place, or send less", ErrSpace, n, len(place))
}

// Finish returns the length of the message. The error wraps [ErrSpace] and
// says that a part did not fit.
func (a *Arena) Finish() (int, error) {
	if a.need != 0 {
		return 0, NoSpace(a.msg, a.need)
	}
	return a.next, nil
}

// Text makes room for a string or bytes of n bytes, notes it in the reference
// ref, and returns the room, of which every byte must be written: it holds
// whatever was there before. It returns nil for n = 0 and when there is no
// room.
func (a *Arena) Text(ref []byte, n int) []byte {
	from := a.next
	if n <= 0 || n > len(a.msg)-from {
		return a.part(ref, n, 1, 1) // says why not
	}
	a.next = from + n
	binary.LittleEndian.PutUint64(ref, uint64(from)|uint64(n)<<32)
	return a.msg[from : from+n : from+n]
}

// PutString writes a string and notes it in the reference ref.
func (a *Arena) PutString(ref []byte, s string) { bulk.Copy(a.Text(ref, len(s)), bytesOf(s)) }

// PutBytes writes bytes and notes them in the reference ref.
func (a *Arena) PutBytes(ref, b []byte) { bulk.Copy(a.Text(ref, len(b)), b) }

// Elements makes room for n elements of size bytes at the given alignment,
// notes them in the reference ref, and returns the room, zeroed. It returns
// nil for n = 0 and when there is no room.
func (a *Arena) Elements(ref []byte, n, size, align int) []byte {
	b := a.part(ref, n, size, align)
	clear(b)
	return b
}

func (a *Arena) part(ref []byte, n, size, align int) []byte {
	binary.LittleEndian.PutUint64(ref, 0)
	if n == 0 {
		return nil
	}
	from := roundUp(a.next, align)
	if n < 0 || from > len(a.msg) || n > (len(a.msg)-from)/size {
		a.tooLong(from, n, size)
		return nil
	}
	to := from + n*size
	clear(a.msg[a.next:from])
	a.next = to
	binary.LittleEndian.PutUint64(ref, uint64(from)|uint64(n)<<32)
	return a.msg[from:to:to]
}

// tooLong notes a part that did not fit, the first one.
func (a *Arena) tooLong(from, n, size int) {
	if a.need == 0 {
		a.need = from + min(max(n, 1), MaxMessage)*size
	}
}

// roundUp returns n or the next multiple of align, a power of two.
func roundUp(n, align int) int { return (n + align - 1) &^ (align - 1) }

// Grow returns the length of a message that had n bytes after a part of count
// elements of size bytes, at the given alignment, was added.
func Grow(n, count, size, align int) int {
	if count == 0 {
		return n
	}
	return roundUp(n, align) + count*size
}

// Place returns element i of a list of elements of n bytes each, to be
// written. The list of a part that didn't fit is empty; what is written to its
// elements goes nowhere. Any other index out of range panics.
func Place(list []byte, i, n int) []byte {
	if len(list) == 0 {
		return make([]byte, n)
	}
	return list[i*n : i*n+n : i*n+n]
}
