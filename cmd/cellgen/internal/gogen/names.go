package gogen

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// ErrName is wrapped by errors that say that a name of the schema can't be
// written in Go beside the others.
var ErrName = errors.New("name in use")

// GoName returns the exported Go name for a name of a schema: user_id becomes
// UserId, UserID stays. Names that differ in a schema differ in Go.
func GoName(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

// claim notes that the generated code declares name in its package, and why.
func (g *generator) claim(name, why string) {
	other, taken := g.taken[name]
	switch {
	case g.err != nil:
	case taken:
		g.err = fmt.Errorf("%w: %s is %s and %s: rename one of them", ErrName, name, other, why)
	case g.opts.Declared[name]:
		g.err = fmt.Errorf("%w: %s, %s, is declared by the package already: rename one of them", ErrName, name, why)
	}
	g.taken[name] = why
}

// members holds the methods of one generated type to be distinct.
type members map[string]string

func (g *generator) member(m members, of, method, why string) {
	if other, taken := m[method]; taken && g.err == nil {
		g.err = fmt.Errorf("%w: %s.%s would be %s and %s: rename one of the fields", ErrName, of, method, other, why)
	}
	m[method] = why
}

// messageMethods are what every struct of a message has; no field can be called
// so.
var messageMethods = []string{"SizeCell", "EncodeCell", "DecodeCell", "MarshalJSON", "UnmarshalJSON"}

// checkFields notes when a field of t bears the name of a method.
func (g *generator) checkFields(t *schema.Type) {
	for _, f := range t.Fields {
		if slices.Contains(messageMethods, GoName(f.Name)) && g.err == nil {
			g.err = fmt.Errorf("%w: %s.%s is a field, and in Go a method of every message: rename the field", ErrName, t.Name, f.Name)
		}
	}
}

// viewMethods are what every view has besides its fields; a field of such a
// name is read by a method with an underscore behind it.
var viewMethods = []string{"Check", "Struct", "String", "Tag"}

// accessor returns the name of the method that reads a field.
func accessor(field string) string {
	name := GoName(field)
	for _, own := range viewMethods {
		if name == own {
			return name + "_"
		}
	}
	return name
}

// form is how a struct or union is called in generated code.
type form struct {
	view, builder, block string
	// role is what the names of the struct's own methods end in, where it has
	// them twice.
	role string
}

// rootForm is the form of a struct as a message.
func rootForm(t *schema.Type) form {
	name := GoName(t.Name)
	return form{name + "View", name + "Builder", name + "Block", ""}
}

// placeForm is the form of a struct or union in place. A struct with variable
// parts lies differently there than as a message, so it has another one.
func placeForm(l *schema.Layout) form {
	if l.Fixed || l.Type.Kind == schema.Union {
		return rootForm(l.Type)
	}
	name := GoName(l.Type.Name)
	return form{name + "Part", name + "PartBuilder", name + "PartBlock", "Part"}
}

var scalarNames = map[schema.Kind]string{
	schema.Bool: "bool",
	schema.Int8: "int8", schema.Int16: "int16", schema.Int32: "int32", schema.Int64: "int64",
	schema.Uint8: "uint8", schema.Uint16: "uint16", schema.Uint32: "uint32", schema.Uint64: "uint64",
	schema.Float32: "float32", schema.Float64: "float64", schema.String: "string", schema.Bytes: "[]byte",
}

// goType returns the type of a value of t in the user's structs.
func goType(t *schema.Type) string {
	switch t.Kind {
	case schema.Array:
		return fmt.Sprintf("[%d]%s", t.Len, goType(t.Elem))
	case schema.Slice:
		return "[]" + goType(t.Elem)
	case schema.Optional:
		return "*" + goType(t.Elem)
	case schema.Struct, schema.Enum, schema.Union:
		return GoName(t.Name)
	}
	return scalarNames[t.Kind]
}

// numeric reports whether lists of t are lists of numbers.
func numeric(t *schema.Type) bool {
	return t.Kind == schema.Enum || t.Kind.Scalar() && t.Kind != schema.Bool
}

// textual reports whether t is a string or bytes.
func textual(t *schema.Type) bool { return t.Kind == schema.String || t.Kind == schema.Bytes }

// composite reports whether t is a struct or union, which have types of their
// own in generated code.
func composite(t *schema.Type) bool { return t.Kind == schema.Struct || t.Kind == schema.Union }
