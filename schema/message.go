package schema

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cell-runtime/cell/schema/view"
)

// Reasons why bytes are not a message. Errors of [Codec.Check] and
// [Codec.Decode] wrap exactly one of them. They are those of generated code.
var (
	ErrMessageShort     = view.ErrShort     // message shorter than its root block must be
	ErrMessageBlock     = view.ErrBlock     // block length out of range
	ErrMessageReference = view.ErrReference // string, bytes or slice outside the message
	ErrMessageOverlap   = view.ErrOverlap   // parts overlap
	ErrMessageLimit     = view.ErrLimit     // message above a limit
)

// ErrValue is wrapped by errors that say a value does not fit its type.
var ErrValue = errors.New("value does not fit")

// DefaultValues is how many values a [Codec] decodes or reads from JSON unless
// its Limit says otherwise.
const DefaultValues = 1 << 20

// Codec turns messages of one type, which need not be known when the program
// is built, into values and JSON and back: for tools, gateways and tests.
// Generated code is a hundred times faster. A Codec may be used by several
// goroutines at once, as long as nobody changes Limit.
type Codec struct {
	// Limit bounds how many values, those in values counted, one message may
	// consist of. A value takes 56 bytes, besides the text that it holds.
	Limit int

	root *Layout
}

// NewCodec returns the codec of messages of type t, a struct of a valid schema.
// The error wraps [ErrInvalid].
func NewCodec(t *Type) (*Codec, error) {
	root, err := RootLayout(t)
	if err != nil {
		return nil, err
	}
	return &Codec{Limit: DefaultValues, root: root}, nil
}

// Layout returns where things lie in the message.
func (c *Codec) Layout() *Layout { return c.root }

// Check says whether msg is well-formed: its root block has at least minimum
// bytes, and all parts that a reader may reach lie within the message without
// overlapping. minimum is the block length of the form in which the sender
// knows the message: [Layout.Size] of its own form, or the length that an
// ancestor had. Everything that is not a length or a reference is valid
// whatever its bytes: see docs/SCHEMA.md.
func (c *Codec) Check(msg []byte, minimum int) error {
	r, err := c.reader(msg, minimum)
	if err != nil {
		return err
	}
	for i, f := range c.root.Fields {
		if !f.Fixed && r.carries(c.root.Offsets[i], f) {
			if err := r.check(f, c.root.Offsets[i]); err != nil {
				return within(err, c.root, i)
			}
		}
	}
	return nil
}

// reader reads a message.
type reader struct {
	msg []byte
	// block is how much of the root block the sender has written.
	block int
	// budget is how many bytes of parts may still be visited. Parts that don't
	// overlap take no more than what follows the block; parts that overlap
	// could be visited for ever.
	budget uint64
	// values is how many may still be made.
	values int
}

func (c *Codec) reader(msg []byte, minimum int) (*reader, error) {
	minimum = max(minimum, 0)
	if len(msg) > MaxMessage {
		return nil, fmt.Errorf("%s: %w: %d bytes of at most %d", c.root.Type.Name, ErrMessageLimit, len(msg), MaxMessage)
	}
	r := &reader{msg: msg, block: len(msg), values: c.Limit}
	switch {
	case len(msg) < minimum, c.root.Prefix > 0 && len(msg) > 0 && len(msg) < prefixSize:
		return nil, fmt.Errorf("%s: %w: %d bytes of %d", c.root.Type.Name, ErrMessageShort, len(msg), max(minimum, prefixSize))
	case c.root.Prefix > 0 && len(msg) > 0:
		block := binary.LittleEndian.Uint32(msg)
		if block < prefixSize || int64(block) < int64(minimum) || int64(block) > int64(len(msg)) {
			return nil, fmt.Errorf("%s: %w: %d, want at least %d and at most the message's %d bytes", c.root.Type.Name, ErrMessageBlock, block, max(minimum, prefixSize), len(msg))
		}
		r.block = int(block)
		r.budget = uint64(len(msg) - r.block)
	}
	return r, nil
}

// carries reports whether the sender has written the field f of the root at
// that offset; otherwise it is zero.
func (r *reader) carries(offset int, f *Layout) bool { return offset+f.Size <= r.block }

// part reads the reference at that offset and returns where the part lies. No
// matter what the reference says, msg[start:start+count*size] can be taken.
func (r *reader) part(l *Layout, offset int) (start, count int, err error) {
	begin, n := int64(binary.LittleEndian.Uint32(r.msg[offset:])), binary.LittleEndian.Uint32(r.msg[offset+4:])
	if n == 0 {
		return 0, 0, nil
	}
	size, align := 1, 1
	if l.Elem != nil {
		size, align = l.Elem.Size, l.Elem.Align
	}
	// Below 2^32 times 2^24.
	length := uint64(n) * uint64(size)
	switch {
	case begin < int64(r.block):
		return 0, 0, fmt.Errorf("%w: it begins at %d, within the block of %d bytes", ErrMessageReference, begin, r.block)
	case uint64(begin)+length > uint64(len(r.msg)):
		return 0, 0, fmt.Errorf("%w: %d bytes at %d, of %d bytes", ErrMessageReference, length, begin, len(r.msg))
	case begin%int64(align) != 0:
		return 0, 0, fmt.Errorf("%w: it begins at %d, no multiple of %d", ErrMessageReference, begin, align)
	case length > r.budget:
		return 0, 0, fmt.Errorf("%w: together they have more bytes than the message", ErrMessageOverlap)
	}
	r.budget -= length
	return int(begin), int(n), nil
}

// check visits what is variable in the value at that offset.
func (r *reader) check(l *Layout, offset int) error {
	switch l.Type.Kind {
	case Struct:
		for i, f := range l.Fields {
			if f.Fixed {
				continue
			}
			if err := r.check(f, offset+l.Offsets[i]); err != nil {
				return within(err, l, i)
			}
		}
	case Union:
		if i := r.tag(l, offset) - 1; i >= 0 && !l.Fields[i].Fixed {
			return within(r.check(l.Fields[i], offset+l.Value), l, i)
		}
	case Optional:
		if r.msg[offset] != 0 {
			return r.check(l.Elem, offset+l.Value)
		}
	case Array:
		return r.checkElements(l.Elem, offset, l.Type.Len)
	case String, Bytes, Slice:
		start, count, err := r.part(l, offset)
		if err != nil || l.Elem == nil || l.Elem.Fixed {
			return err
		}
		return r.checkElements(l.Elem, start, count)
	}
	return nil
}

func (r *reader) checkElements(elem *Layout, offset, count int) error {
	for i := range count {
		if err := r.check(elem, offset+i*elem.Size); err != nil {
			return withinElement(err, i)
		}
	}
	return nil
}

// tag returns which alternative the union at that offset holds, counted from
// 1; 0 for none, and for those that its type doesn't have.
func (r *reader) tag(l *Layout, offset int) int {
	tag := binary.LittleEndian.Uint32(r.msg[offset:])
	if int64(tag) > int64(len(l.Fields)) {
		return 0
	}
	return int(tag)
}

// pathError tells where in a message or value an error lies. The path grows
// from the inside, as the calls return.
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

// within puts field i of l in front of the path.
func within(err error, l *Layout, i int) error {
	return inFront(err, "."+l.Type.Fields[i].Name)
}

func withinElement(err error, i int) error { return inFront(err, fmt.Sprintf("[%d]", i)) }

func inFront(err error, step string) error {
	if err == nil {
		return nil
	}
	if deeper, ok := err.(*pathError); ok {
		return &pathError{step + deeper.path, deeper.err}
	}
	return &pathError{step, err}
}

// loadScalar reads a bool, integer or float as [Datum.Bits] holds it.
func loadScalar(k Kind, b []byte) uint64 {
	switch k {
	case Bool:
		if b[0] != 0 {
			return 1
		}
		return 0
	case Int8:
		return uint64(int8(b[0]))
	case Uint8:
		return uint64(b[0])
	case Int16:
		return uint64(int16(binary.LittleEndian.Uint16(b)))
	case Uint16:
		return uint64(binary.LittleEndian.Uint16(b))
	case Int32:
		return uint64(int32(binary.LittleEndian.Uint32(b)))
	case Uint32, Float32:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// storeScalar is the inverse of loadScalar.
func storeScalar(k Kind, b []byte, bits uint64) {
	switch k.ScalarSize() {
	case 1:
		b[0] = byte(bits)
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(bits))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(bits))
	default:
		binary.LittleEndian.PutUint64(b, bits)
	}
}

// fits reports whether bits hold a value of that kind.
func fits(k Kind, bits uint64) bool {
	switch k {
	case Bool:
		return bits <= 1
	case Uint8:
		return bits <= math.MaxUint8
	case Uint16:
		return bits <= math.MaxUint16
	case Uint32, Float32:
		return bits <= math.MaxUint32
	case Int8:
		return int64(bits) == int64(int8(bits))
	case Int16:
		return int64(bits) == int64(int16(bits))
	case Int32:
		return int64(bits) == int64(int32(bits))
	}
	return true
}
