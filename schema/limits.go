package schema

// The limits of the language. Each bounds work or memory that a description
// from elsewhere may ask for; docs/SCHEMA.md lists them.
const (
	// MaxText is the length of a description in bytes.
	MaxText = 1 << 20
	// MaxName is the length of a name in bytes.
	MaxName = 64
	// MaxUnit is the length of a field's unit in bytes.
	MaxUnit = 64
	// MaxTypes is the number of named types in a schema.
	MaxTypes = 4096
	// MaxServices is the number of services in a schema.
	MaxServices = 256
	// MaxMethods is the number of methods in a service.
	MaxMethods = 256
	// MaxFields is the number of fields of a struct, and of alternatives of a
	// union.
	MaxFields = 256
	// MaxValues is the number of values of an enum.
	MaxValues = 4096
	// MaxAncestors is the number of ancestors of a method.
	MaxAncestors = 64
	// MaxDepth is how deep structs, unions, arrays, slices and optionals may
	// lie within each other. The message itself counts.
	MaxDepth = 16
	// MaxBlock is the size in bytes of what lies in place: of a struct, an
	// array, any other type. What is larger belongs into bytes or a slice.
	MaxBlock = 1 << 24
	// MaxMessage is the length of a message in bytes, the greatest that the
	// wire header can announce.
	MaxMessage = 1 << 30
)
