package schema

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
)

// Verdict says what became of a method from one schema to another.
type Verdict uint8

// The verdicts.
const (
	Same        Verdict = iota + 1 // the identity is the same
	Additive                       // fields were appended to its messages, nothing else: the old form is an ancestor
	NewEndpoint                    // anything else changed: another fingerprint, to be served beside the old one
	Added                          // only the newer schema has it
	Removed                        // only the older schema has it
)

var verdictNames = [...]string{
	Same: "same", Additive: "additive", NewEndpoint: "new endpoint", Added: "added", Removed: "removed",
}

// String returns the verdict in words, such as "new endpoint".
func (v Verdict) String() string {
	if int(v) < len(verdictNames) && verdictNames[v] != "" {
		return verdictNames[v]
	}
	return "verdict " + strconv.Itoa(int(v))
}

// Change is what became of one method.
type Change struct {
	Service, Method string
	Verdict         Verdict
	Old, New        uint64 // fingerprints; 0 where the method does not exist
	// Details name what differs, in plain words, such as
	// "Order.Price: int64 became float64". Never empty for Additive and
	// NewEndpoint; for NewEndpoint they name only what forbids more.
	Details []string
}

// String returns the change as a few lines for people: the method with its
// verdict and fingerprints, then the details, each indented.
func (c Change) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.%s: %v", c.Service, c.Method, c.Verdict)
	switch c.Verdict {
	case Additive, NewEndpoint:
		fmt.Fprintf(&b, " (%s became %s)", FormatFingerprint(c.Old), FormatFingerprint(c.New))
	case Removed:
		fmt.Fprintf(&b, " (%s)", FormatFingerprint(c.Old))
	default:
		fmt.Fprintf(&b, " (%s)", FormatFingerprint(c.New))
	}
	for _, detail := range c.Details {
		b.WriteString("\n\t" + detail)
	}
	return b.String()
}

// Diff compares two valid schemas, method by method: first those of the newer
// one in its order, then those that it has no more. Methods belong together
// when they and their services have the same names. It hashes each method with
// all types that it needs, so who compares what strangers wrote should bound
// its length, or [Compare] only the methods that matter.
func Diff(older, newer *Schema) []Change {
	var changes []Change
	for _, service := range newer.Services {
		before := older.Service(service.Name)
		for i := range service.Methods {
			m := &service.Methods[i]
			if was := before.Method(m.Name); was != nil {
				changes = append(changes, Compare(before, was, service, m))
			} else {
				changes = append(changes, Change{Service: service.Name, Method: m.Name,
					Verdict: Added, New: Fingerprint(service, m)})
			}
		}
	}
	for _, service := range older.Services {
		after := newer.Service(service.Name)
		for i := range service.Methods {
			if m := &service.Methods[i]; after.Method(m.Name) == nil {
				changes = append(changes, Change{Service: service.Name, Method: m.Name,
					Verdict: Removed, Old: Fingerprint(service, m)})
			}
		}
	}
	return changes
}

// Service returns the service of that name, nil when there is none.
func (s *Schema) Service(name string) *Service {
	for _, service := range s.Services {
		if service.Name == name {
			return service
		}
	}
	return nil
}

// Method returns the method of that name, nil when there is none. A nil
// service has none.
func (s *Service) Method(name string) *Method {
	if s == nil {
		return nil
	}
	for i := range s.Methods {
		if s.Methods[i].Name == name {
			return &s.Methods[i]
		}
	}
	return nil
}

// Type returns the named type of that name, nil when there is none.
func (s *Schema) Type(name string) *Type {
	for _, t := range s.Types {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Compare says what became of a method from an older form to a newer one, both
// of valid schemas. Which is older matters: appended fields are additive, left
// out ones are not.
func Compare(oldService *Service, older *Method, newService *Service, newer *Method) Change {
	was, is := Identity(oldService, older), Identity(newService, newer)
	c := Change{
		Service: newService.Name, Method: newer.Name,
		Old: fingerprint([]byte(was), sha256.Sum256), New: fingerprint([]byte(is), sha256.Sum256),
	}
	if was == is {
		c.Verdict = Same
		return c
	}
	d := differ{seen: map[[2]*Type]bool{}, roots: map[[2]*Type]bool{}}
	if oldService.Name != newService.Name {
		d.breaks("the service %s became %s", oldService.Name, newService.Name)
	}
	if older.Name != newer.Name {
		d.breaks("the method %s became %s", older.Name, newer.Name)
	}
	if older.Mode != newer.Mode {
		d.breaks("%s: a %v method became %v", newer.Name, older.Mode, newer.Mode)
	}
	for s := range Slot(slots) {
		if older.Mode.Has(s) && newer.Mode.Has(s) {
			d.message(s, older.Message(s), newer.Message(s))
		}
	}
	c.Verdict, c.Details = Additive, d.appended
	if len(d.broken) > 0 {
		c.Verdict, c.Details = NewEndpoint, d.broken
	}
	return c
}

// differ collects the differences of two methods.
type differ struct {
	seen, roots      map[[2]*Type]bool // pairs compared already, in place and as messages
	broken, appended []string
}

func (d *differ) breaks(format string, args ...any) {
	d.broken = append(d.broken, fmt.Sprintf(format, args...))
}

func (d *differ) appends(format string, args ...any) {
	d.appended = append(d.appended, fmt.Sprintf(format, args...))
}

// message compares what stands in a slot.
func (d *differ) message(s Slot, older, newer *Type) {
	pair := [2]*Type{older, newer}
	switch {
	case d.roots[pair]:
		return
	case older.Name == "" && newer.Name == "":
		return
	case older.Name == "":
		// Nothing was there that could have been changed.
		d.appends("the %v was empty, now it is %s", s, newer.Name)
		return
	case newer.Name == "":
		d.breaks("the %v was %s, now it is empty", s, older.Name)
		return
	case older.Name != newer.Name:
		d.breaks("the %v was %s, now it is %s", s, older.Name, newer.Name)
		return
	}
	d.roots[pair] = true
	if len(newer.Fields) <= len(older.Fields) || !samePlaces(older, newer) {
		d.fields(older, newer, true)
		return
	}
	for i, was := range older.Fields {
		d.field(older.Name+"."+was.Name, was, newer.Fields[i])
	}
	prefixed := hasVariable(older.Fields)
	for _, f := range newer.Fields[len(older.Fields):] {
		if !prefixed && len(older.Fields) > 0 && hasVariable([]Field{f}) {
			d.breaks("%s.%s: %s was appended, the first field of variable length: the message gets a block length in front, which moves everything; a message that may need such a field later should have one from the beginning", newer.Name, f.Name, TypeText(f.Type))
			return
		}
		d.appends("%s.%s: %s was appended", newer.Name, f.Name, TypeText(f.Type))
	}
}

// samePlaces reports whether the fields of the older struct have their names
// and places in the newer one.
func samePlaces(older, newer *Type) bool {
	for i, f := range older.Fields {
		if i >= len(newer.Fields) || newer.Fields[i].Name != f.Name {
			return false
		}
	}
	return true
}

// hasVariable reports whether one of the fields is of variable length.
func hasVariable(fields []Field) bool {
	layout, err := LayoutOf(&Type{Kind: Struct, Fields: fields})
	return err == nil && !layout.Fixed
}

// field compares two fields of the same name.
func (d *differ) field(where string, older, newer Field) {
	if older.Unit != newer.Unit {
		d.breaks("%s: its unit %s became %s", where, unitText(older.Unit), unitText(newer.Unit))
	}
	d.types(where, older.Type, newer.Type)
}

func unitText(unit string) string {
	if unit == "" {
		return "none"
	}
	return strconv.Quote(unit)
}

// types compares types as fields have them.
func (d *differ) types(where string, older, newer *Type) {
	if was, is := TypeText(older), TypeText(newer); was != is {
		d.breaks("%s: %s became %s", where, was, is)
		return
	}
	for !older.Kind.Named() && older.Elem != nil && newer.Elem != nil {
		older, newer = older.Elem, newer.Elem
	}
	if !older.Kind.Named() && !newer.Kind.Named() {
		return
	}
	if pair := [2]*Type{older, newer}; !d.seen[pair] {
		d.seen[pair] = true
		d.named(older, newer)
	}
}

// named compares types of the same name, of which no part may differ.
func (d *differ) named(older, newer *Type) {
	switch {
	case older.Kind != newer.Kind:
		d.breaks("%s: %v became %v", older.Name, older.Kind, newer.Kind)
	case older.Kind == Enum:
		d.enum(older, newer)
	default:
		d.fields(older, newer, false)
	}
}
