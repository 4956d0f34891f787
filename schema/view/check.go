package view

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Reasons why bytes are not a message. What generated Check functions return
// wraps exactly one of them.
var (
	ErrShort     = errors.New("message shorter than its root block must be")
	ErrBlock     = errors.New("block length out of range")
	ErrReference = errors.New("string, bytes or slice outside the message")
	ErrOverlap   = errors.New("parts overlap")
	ErrLimit     = errors.New("message above a limit")
)

// TooShort returns the error for a message of the named type that is shorter
// than the least block length that its sender must have written. It wraps
// [ErrShort].
func TooShort(name string, msg []byte, minimum int) error {
	return fmt.Errorf("%s: %w: %d bytes of %d", name, ErrShort, len(msg), minimum)
}

// Checker holds a message with variable parts to the rules: all parts that a
// reader may reach lie behind the root block, within the message and at their
// alignment, and together they are not longer than the message, so that they
// can't be visited for ever.
type Checker struct {
	msg    []byte
	block  uint64
	budget uint64
}

// NewChecker checks the length and the block length of msg. A message of no
// bytes has no fields, and is well-formed where minimum is 0.
func NewChecker(msg []byte, minimum int) (Checker, error) {
	c := Checker{msg: msg}
	if len(msg) == 0 && minimum <= 0 {
		return c, nil
	}
	minimum = max(minimum, PrefixSize)
	if len(msg) < minimum {
		return c, fmt.Errorf("%w: %d bytes of %d", ErrShort, len(msg), minimum)
	}
	if len(msg) > MaxMessage {
		return c, fmt.Errorf("%w: %d bytes of at most %d", ErrLimit, len(msg), MaxMessage)
	}
	c.block = uint64(binary.LittleEndian.Uint32(msg))
	if c.block < uint64(minimum) || c.block > uint64(len(msg)) {
		return c, fmt.Errorf("%w: %d, want at least %d and at most the message's %d bytes", ErrBlock, c.block, minimum, len(msg))
	}
	c.budget = uint64(len(msg)) - c.block
	return c, nil
}

// Text checks the reference to a string or bytes.
func (c *Checker) Text(ref []byte) error {
	_, err := c.Elements(ref, 1, 1)
	return err
}

// Texts checks references to strings or bytes, one behind the other.
func (c *Checker) Texts(refs []byte) error {
	for i := 0; i+RefSize <= len(refs); i += RefSize {
		if err := c.Text(refs[i : i+RefSize]); err != nil {
			return InElement(i/RefSize, err)
		}
	}
	return nil
}

// Elements checks the reference to elements of size bytes at the given
// alignment, and returns them as [Elements] does.
func (c *Checker) Elements(ref []byte, size, align int) ([]byte, error) {
	r := binary.LittleEndian.Uint64(ref)
	from, count := r&(1<<32-1), r>>32
	length := count * uint64(size)
	switch {
	case count == 0:
		return nil, nil
	case from < c.block:
		return nil, fmt.Errorf("%w: it begins at %d, within the block of %d bytes", ErrReference, from, c.block)
	case from+length > uint64(len(c.msg)):
		return nil, fmt.Errorf("%w: %d bytes at %d, of %d bytes", ErrReference, length, from, len(c.msg))
	case from%uint64(align) != 0:
		return nil, fmt.Errorf("%w: it begins at %d, no multiple of %d", ErrReference, from, align)
	case length > c.budget:
		return nil, fmt.Errorf("%w: together they have more bytes than the message", ErrOverlap)
	}
	c.budget -= length
	return c.msg[from : from+length : from+length], nil
}

// pathError tells where in a message an error lies. The path grows from the
// inside, as the calls return.
type pathError struct {
	path string // such as ".Lines[3].Qty"
	err  error
}

func (e *pathError) Error() string {
	path := e.path
	if path != "" && path[0] == '.' {
		path = path[1:]
	}
	return path + ": " + e.err.Error()
}

func (e *pathError) Unwrap() error { return e.err }

// In returns err, if it isn't nil, with the field in which it lies.
func In(field string, err error) error {
	if err == nil {
		return nil
	}
	return inFront("."+field, err)
}

// InElement returns err, if it isn't nil, with the element in which it lies.
func InElement(i int, err error) error {
	if err == nil {
		return nil
	}
	return inFront(fmt.Sprintf("[%d]", i), err)
}

func inFront(step string, err error) error {
	if deeper, ok := err.(*pathError); ok {
		return &pathError{step + deeper.path, deeper.err}
	}
	return &pathError{step, err}
}
