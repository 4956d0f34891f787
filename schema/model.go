package schema

// Schema is everything that one description file says: named types and the
// services that use them. Parse and a front end such as cellgen's make it;
// every generator works from it alone.
type Schema struct {
	Doc      string // of the whole file, for people
	Types    []*Type
	Services []*Service
}

// Kind says what a type is.
type Kind uint8

// The kinds of types.
const (
	Bool Kind = iota + 1
	Int8
	Int16
	Int32
	Int64
	Uint8
	Uint16
	Uint32
	Uint64
	Float32
	Float64
	String   // UTF-8 text, variable
	Bytes    // variable
	Array    // Len elements of Elem, in place
	Slice    // any number of elements of Elem, variable
	Optional // a value of Elem, or none
	Struct   // Fields in order, laid out as C lays out a struct
	Enum     // an integer of type Elem with named Values
	Union    // exactly one of Fields, or none of them
)

// Type is a type. Named types (Struct, Enum, Union) occur once in
// Schema.Types and are referred to by pointer; others are written in place.
// No type contains itself, by whatever way.
type Type struct {
	Kind   Kind
	Name   string  // of a named type
	Doc    string  // of a named type
	Elem   *Type   // of Array, Slice, Optional; the integer below an Enum
	Len    int     // of Array, at least 1
	Fields []Field // of Struct; the alternatives of a Union
	Values []Value // of Enum
}

// Field is a field of a struct or an alternative of a union.
type Field struct {
	Name string
	Type *Type
	Unit string // such as "ns" or "1e-8 EUR": part of the identity
	Doc  string
}

// Value is a named value of an enum.
type Value struct {
	Name   string
	Number int64 // of an Enum over Uint64, the bits of the number
	Doc    string
}

// Mode says how a method talks.
type Mode uint8

// The modes.
const (
	Unary        Mode = iota + 1 // request, then reply
	OneWay                       // request alone
	ServerStream                 // request, then Out items, then reply
	ClientStream                 // request, then In items, then reply
	BothStreams                  // request, then items both ways, then reply
	Topic                        // events, from a publisher to any number of subscribers
)

// Service is a named set of methods.
type Service struct {
	Name    string
	Doc     string
	Methods []Method
}

// Method is one method or topic of a service. Its messages are structs;
// a message without fields is an empty struct without a name.
type Method struct {
	Name    string
	Doc     string
	Mode    Mode
	Request *Type // nil for Topic
	Reply   *Type // nil for OneWay and Topic
	In      *Type // items from the client, of ClientStream and BothStreams
	Out     *Type // items from the server, of ServerStream and BothStreams
	Event   *Type // of Topic

	// How callers may treat it; no part of the identity.
	Idempotent bool

	// Ancestors are earlier forms of this method from which it differs by
	// appended fields alone, oldest first. A server accepts them all.
	Ancestors []Ancestor
}

// Ancestor is an earlier form of a method. A server that accepts it must know
// how much of each message was there.
type Ancestor struct {
	Fingerprint uint64
	// Lengths in bytes of the root blocks of that form; 0 for messages that
	// the mode does not have.
	Request, Reply, In, Out, Event int
}
