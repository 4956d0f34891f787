package schema

import (
	"encoding/binary"
	"fmt"
)

// Encode returns v as a message: the canonical encoding, in which everything
// that no value decides is zero and each part lies directly behind those
// before it, at its alignment, in the order in which a walk through the fields
// meets them. v must be a struct of the codec's type; the error wraps
// [ErrValue], or [ErrMessageLimit].
func (c *Codec) Encode(v Datum) ([]byte, error) {
	w := writer{msg: make([]byte, c.root.Size)}
	if c.root.Prefix > 0 {
		binary.LittleEndian.PutUint32(w.msg, uint32(c.root.Size))
	}
	if err := w.value(c.root, 0, v); err != nil {
		return nil, err
	}
	return w.msg, nil
}

// writer appends parts to a message. What it has appended is zero until it is
// written.
type writer struct{ msg []byte }

// valueError says what doesn't fit; it wraps ErrValue without repeating it.
type valueError struct{ what string }

func (e *valueError) Error() string { return e.what }

func (e *valueError) Unwrap() error { return ErrValue }

func unfit(format string, args ...any) error { return &valueError{fmt.Sprintf(format, args...)} }

// value writes v at offset, where its bytes are zero.
func (w *writer) value(l *Layout, offset int, v Datum) error {
	t := l.Type
	switch t.Kind {
	case Struct:
		if len(v.Items) != len(l.Fields) {
			return unfit("%d fields for the %d of %s", len(v.Items), len(l.Fields), t.Name)
		}
		for i, f := range l.Fields {
			if err := w.value(f, offset+l.Offsets[i], v.Items[i]); err != nil {
				return within(err, l, i)
			}
		}
	case Array:
		if len(v.Items) != t.Len {
			return unfit("%d elements for an array of %d", len(v.Items), t.Len)
		}
		return w.elements(l.Elem, offset, v.Items)
	case Slice:
		start, err := w.part(offset, len(v.Items), l.Elem.Size, l.Elem.Align)
		if err != nil {
			return err
		}
		return w.elements(l.Elem, start, v.Items)
	case String, Bytes:
		start, err := w.part(offset, len(v.Text), 1, 1)
		if err == nil {
			copy(w.msg[start:], v.Text)
		}
		return err
	case Optional:
		if len(v.Items) > 1 {
			return unfit("%d values in an optional", len(v.Items))
		}
		if len(v.Items) == 1 {
			w.msg[offset] = 1
			return w.value(l.Elem, offset+l.Value, v.Items[0])
		}
	case Union:
		return w.union(l, offset, v)
	case Enum:
		return w.scalar(t.Elem.Kind, offset, v.Bits)
	default:
		return w.scalar(t.Kind, offset, v.Bits)
	}
	return nil
}

func (w *writer) scalar(k Kind, offset int, bits uint64) error {
	if !fits(k, bits) {
		return unfit("the bits %#x are no %v", bits, k)
	}
	storeScalar(k, w.msg[offset:], bits)
	return nil
}

func (w *writer) union(l *Layout, offset int, v Datum) error {
	switch {
	case v.Bits > uint64(len(l.Fields)):
		return unfit("%s has %d alternatives, there is no number %d", l.Type.Name, len(l.Fields), v.Bits)
	case v.Bits == 0 && len(v.Items) != 0, v.Bits != 0 && len(v.Items) != 1:
		return unfit("%d values in the union %s with the tag %d", len(v.Items), l.Type.Name, v.Bits)
	case v.Bits == 0:
		return nil
	}
	binary.LittleEndian.PutUint32(w.msg[offset:], uint32(v.Bits))
	i := int(v.Bits) - 1
	return within(w.value(l.Fields[i], offset+l.Value, v.Items[0]), l, i)
}

func (w *writer) elements(elem *Layout, offset int, items []Datum) error {
	for i, item := range items {
		if err := w.value(elem, offset+i*elem.Size, item); err != nil {
			return withinElement(err, i)
		}
	}
	return nil
}

// part makes room for a part of count elements, zeroed, and writes the
// reference to it at offset. It returns where the part begins.
func (w *writer) part(offset, count, size, align int) (start int, err error) {
	if count == 0 {
		return 0, nil
	}
	start = roundUp(len(w.msg), align)
	if count > MaxMessage/size || start+count*size > MaxMessage {
		return 0, fmt.Errorf("%w: it would have more than %d bytes", ErrMessageLimit, MaxMessage)
	}
	w.msg = append(w.msg, make([]byte, start+count*size-len(w.msg))...)
	binary.LittleEndian.PutUint32(w.msg[offset:], uint32(start))
	binary.LittleEndian.PutUint32(w.msg[offset+4:], uint32(count))
	return start, nil
}
