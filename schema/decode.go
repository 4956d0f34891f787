package schema

import "fmt"

// Decode returns the value that msg holds; Check says what minimum is for.
// Whatever Check refuses is refused here with the same error. Fields beyond
// the carried block are zero. The value shares no memory with msg, and takes
// memory in proportion to its number of values, which Limit bounds.
func (c *Codec) Decode(msg []byte, minimum int) (Datum, error) {
	r, err := c.reader(msg, minimum)
	if err != nil {
		return Datum{}, err
	}
	v, err := r.structure(c.root)
	if err != nil {
		return Datum{}, err
	}
	for i, f := range c.root.Fields {
		offset := c.root.Offsets[i]
		if !r.carries(offset, f) {
			offset = absent
		}
		if v.Items[i], err = r.value(f, offset); err != nil {
			return Datum{}, within(err, c.root, i)
		}
	}
	return v, nil
}

// absent is the offset of values that the sender did not write: they are zero.
const absent = -1

// take counts n values, before they are allocated.
func (r *reader) take(n int) error {
	if n > r.values {
		return fmt.Errorf("%w: more values than the codec's limit", ErrMessageLimit)
	}
	r.values -= n
	return nil
}

// structure returns a struct's value with its fields yet to be decoded.
func (r *reader) structure(l *Layout) (Datum, error) {
	v := Datum{Type: l.Type}
	if err := r.take(len(l.Fields)); err != nil || len(l.Fields) == 0 {
		return v, err
	}
	v.Items = make([]Datum, len(l.Fields))
	return v, nil
}

// value decodes the value at that offset, which is known to lie within msg.
func (r *reader) value(l *Layout, offset int) (Datum, error) {
	v := Datum{Type: l.Type}
	switch l.Type.Kind {
	case Struct:
		v, err := r.structure(l)
		if err != nil {
			return v, err
		}
		for i, f := range l.Fields {
			at := absent
			if offset != absent {
				at = offset + l.Offsets[i]
			}
			if v.Items[i], err = r.value(f, at); err != nil {
				return v, within(err, l, i)
			}
		}
		return v, nil
	case Array:
		return r.elements(l, offset, l.Type.Len)
	}
	if offset == absent {
		return v, nil
	}
	switch l.Type.Kind {
	case String, Bytes:
		start, count, err := r.part(l, offset)
		v.Text = string(r.msg[start : start+count])
		return v, err
	case Slice:
		start, count, err := r.part(l, offset)
		if err != nil {
			return v, err
		}
		return r.elements(l, start, count)
	case Optional:
		if r.msg[offset] == 0 {
			return v, nil
		}
		err := r.only(&v, l.Elem, offset+l.Value)
		return v, err
	case Union:
		tag := r.tag(l, offset)
		if tag == 0 {
			return v, nil
		}
		v.Bits = uint64(tag)
		err := r.only(&v, l.Fields[tag-1], offset+l.Value)
		return v, within(err, l, tag-1)
	case Enum:
		v.Bits = loadScalar(l.Type.Elem.Kind, r.msg[offset:])
	default:
		v.Bits = loadScalar(l.Type.Kind, r.msg[offset:])
	}
	return v, nil
}

// elements decodes count elements, one behind the other from offset on.
func (r *reader) elements(l *Layout, offset, count int) (Datum, error) {
	v := Datum{Type: l.Type}
	if err := r.take(count); err != nil || count == 0 {
		return v, err
	}
	v.Items = make([]Datum, count)
	for i := range v.Items {
		at := absent
		if offset != absent {
			at = offset + i*l.Elem.Size
		}
		var err error
		if v.Items[i], err = r.value(l.Elem, at); err != nil {
			return v, withinElement(err, i)
		}
	}
	return v, nil
}

// only decodes the one value that an optional or union holds.
func (r *reader) only(v *Datum, l *Layout, offset int) error {
	if err := r.take(1); err != nil {
		return err
	}
	item, err := r.value(l, offset)
	v.Items = []Datum{item}
	return err
}
