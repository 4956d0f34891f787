package schema

import "slices"

// part is what structs, unions and enums consist of, as far as its name and
// place are concerned.
type part struct {
	name string
	same func(part) bool // whether another part differs by its name alone
	of   any             // Field or Value
}

// parts compares two lists by name. It tells what was removed, added, renamed
// or moved, and returns the pairs of places of those that both have. What was
// appended is told with the reason why it matters, or not at all.
func (d *differ) parts(where, appended string, older, newer []part) (pairs [][2]int) {
	index := func(list []part, name string) int {
		return slices.IndexFunc(list, func(p part) bool { return p.name == name })
	}
	renamed, last := map[string]bool{}, -1
	for i, was := range older {
		j := index(newer, was.name)
		switch {
		case j >= 0:
			pairs = append(pairs, [2]int{i, j})
			last = max(last, j)
		case i < len(newer) && index(older, newer[i].name) < 0 && was.same(newer[i]):
			renamed[newer[i].name] = true
			last = max(last, i)
			d.breaks("%s.%s: its name became %s", where, was.name, newer[i].name)
		default:
			d.breaks("%s.%s: it was removed", where, was.name)
		}
	}
	for j, is := range newer {
		switch {
		case index(older, is.name) >= 0 || renamed[is.name]:
		case j < last:
			d.breaks("%s.%s: it was added in front of or between others, not appended", where, is.name)
		case appended != "":
			d.breaks("%s.%s: it was appended, %s", where, is.name, appended)
		}
	}
	for i := 1; i < len(pairs); i++ {
		if pairs[i][1] < pairs[i-1][1] {
			d.breaks("%s.%s: it was behind %s, now it is in front of it", where, older[pairs[i][0]].name, older[pairs[i-1][0]].name)
			break
		}
	}
	return pairs
}

// fields compares the fields of structs, or the alternatives of unions. Of a
// struct that is a message, fields may be appended.
func (d *differ) fields(older, newer *Type, message bool) {
	list := func(fields []Field) []part {
		parts := make([]part, len(fields))
		for i, f := range fields {
			parts[i] = part{name: f.Name, of: f, same: func(other part) bool {
				o := other.of.(Field)
				return o.Unit == f.Unit && TypeText(o.Type) == TypeText(f.Type)
			}}
		}
		return parts
	}
	appended := "but " + older.Name + " lies within another type: only fields appended to the message itself are additive"
	switch {
	case message:
		appended = ""
	case older.Kind == Union:
		appended = "but who knows the old union alone could not read it: a union is part of the identity"
	}
	for _, pair := range d.parts(older.Name, appended, list(older.Fields), list(newer.Fields)) {
		was := older.Fields[pair[0]]
		d.field(older.Name+"."+was.Name, was, newer.Fields[pair[1]])
	}
}

func (d *differ) enum(older, newer *Type) {
	if older.Elem.Kind != newer.Elem.Kind {
		d.breaks("%s: an enum over %v became one over %v", older.Name, older.Elem.Kind, newer.Elem.Kind)
	}
	list := func(values []Value) []part {
		parts := make([]part, len(values))
		for i, v := range values {
			parts[i] = part{name: v.Name, of: v, same: func(other part) bool {
				return other.of.(Value).Number == v.Number
			}}
		}
		return parts
	}
	const appended = "but who knows the old enum alone has no name for it: an enum is part of the identity"
	for _, pair := range d.parts(older.Name, appended, list(older.Values), list(newer.Values)) {
		was, is := older.Values[pair[0]], newer.Values[pair[1]]
		if was.Number != is.Number {
			d.breaks("%s.%s: %s became %s", older.Name, was.Name, older.number(was.Number), newer.number(is.Number))
		}
	}
}
