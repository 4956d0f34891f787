package schema

import "strconv"

// kindNames are the words of the language; kinds without a word of their own
// are written otherwise (see docs/SCHEMA.md).
var kindNames = [...]string{
	Bool: "bool", Int8: "int8", Int16: "int16", Int32: "int32", Int64: "int64",
	Uint8: "uint8", Uint16: "uint16", Uint32: "uint32", Uint64: "uint64",
	Float32: "float32", Float64: "float64", String: "string", Bytes: "bytes",
	Array: "array", Slice: "slice", Optional: "optional",
	Struct: "struct", Enum: "enum", Union: "union",
}

// String returns the kind in the words of the language, such as "uint8".
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// Named reports whether types of this kind have names: structs, enums and
// unions.
func (k Kind) Named() bool { return k == Struct || k == Enum || k == Union }

// Integer reports whether k is one of the eight integers.
func (k Kind) Integer() bool { return k >= Int8 && k <= Uint64 }

// Signed reports whether k is a signed integer.
func (k Kind) Signed() bool { return k >= Int8 && k <= Int64 }

// Scalar reports whether k is a bool, an integer or a float.
func (k Kind) Scalar() bool { return k >= Bool && k <= Float64 }

// ScalarSize returns the size of a bool, integer or float in bytes, which is
// its alignment too; 0 for other kinds.
func (k Kind) ScalarSize() int {
	switch k {
	case Bool, Int8, Uint8:
		return 1
	case Int16, Uint16:
		return 2
	case Int32, Uint32, Float32:
		return 4
	case Int64, Uint64, Float64:
		return 8
	}
	return 0
}

var modeNames = [...]string{
	Unary: "unary", OneWay: "one-way", ServerStream: "server stream",
	ClientStream: "client stream", BothStreams: "streams both ways", Topic: "topic",
}

// String returns the mode in words, such as "server stream".
func (m Mode) String() string {
	if int(m) < len(modeNames) && modeNames[m] != "" {
		return modeNames[m]
	}
	return "mode " + strconv.Itoa(int(m))
}

// Slot is one of the messages that a method may have.
type Slot uint8

// The slots, in the order in which everything lists them.
const (
	SlotRequest Slot = iota
	SlotReply
	SlotIn
	SlotOut
	SlotEvent

	slots = int(SlotEvent) + 1
)

var slotNames = [slots]string{"request", "reply", "in", "out", "event"}

// String returns the slot's name as ancestors' lines have it: request, reply,
// in, out, event.
func (s Slot) String() string {
	if int(s) < slots {
		return slotNames[s]
	}
	return "slot " + strconv.Itoa(int(s))
}

// Has reports whether methods of this mode have that message.
func (m Mode) Has(s Slot) bool {
	switch s {
	case SlotRequest:
		return m >= Unary && m <= BothStreams
	case SlotReply:
		return m >= Unary && m <= BothStreams && m != OneWay
	case SlotIn:
		return m == ClientStream || m == BothStreams
	case SlotOut:
		return m == ServerStream || m == BothStreams
	case SlotEvent:
		return m == Topic
	}
	return false
}

// Message returns the struct in that slot, nil when the method has none.
func (m *Method) Message(s Slot) *Type {
	switch s {
	case SlotRequest:
		return m.Request
	case SlotReply:
		return m.Reply
	case SlotIn:
		return m.In
	case SlotOut:
		return m.Out
	case SlotEvent:
		return m.Event
	}
	return nil
}

// length returns where a keeps the block length of that slot.
func (a *Ancestor) length(s Slot) *int {
	switch s {
	case SlotRequest:
		return &a.Request
	case SlotReply:
		return &a.Reply
	case SlotIn:
		return &a.In
	case SlotOut:
		return &a.Out
	default:
		return &a.Event
	}
}

// Length returns the block length of that slot's message in bytes.
func (a Ancestor) Length(s Slot) int { return *a.length(s) }
