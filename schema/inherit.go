package schema

import (
	"fmt"
	"slices"
)

// Inherit gives the methods of newer their ancestors, out of the schema that
// it replaces, and says what became of each method, as [Diff] does. A method
// that is the same keeps the ancestors of its older form; one with appended
// fields has the older form as its youngest ancestor; one that returned to the
// form of an ancestor keeps those before; any other has none from there.
// Ancestors that newer lists already stay. Beyond [MaxAncestors] the oldest
// are dropped, which the change's Details tell.
//
// The error says that one of the schemas is not valid, and wraps [ErrInvalid];
// newer is then as it was.
func Inherit(older, newer *Schema) ([]Change, error) {
	if err := older.Validate(); err != nil {
		return nil, fmt.Errorf("the older schema: %w", err)
	}
	if err := newer.Validate(); err != nil {
		return nil, fmt.Errorf("the newer schema: %w", err)
	}
	changes := Diff(older, newer)
	for i := range changes {
		c := &changes[i]
		if c.Verdict == Added || c.Verdict == Removed {
			continue
		}
		service := older.Service(c.Service)
		m := newer.Service(c.Service).Method(c.Method)
		list, err := inherited(c, service, service.Method(c.Method))
		if err != nil {
			return nil, err
		}
		list = slices.DeleteFunc(list, func(a Ancestor) bool { return a.Fingerprint == c.New })
		for _, own := range m.Ancestors {
			if !slices.ContainsFunc(list, func(a Ancestor) bool { return a.Fingerprint == own.Fingerprint }) {
				list = append(list, own)
			}
		}
		if drop := len(list) - MaxAncestors; drop > 0 {
			c.Details = append(c.Details, fmt.Sprintf("%d ancestors, above the limit of %d: the oldest %d are accepted no more", len(list), MaxAncestors, drop))
			list = slices.Delete(list, 0, drop)
		}
		m.Ancestors = list
	}
	return changes, nil
}

// inherited returns the ancestors that come from the older form of a method.
func inherited(c *Change, service *Service, older *Method) ([]Ancestor, error) {
	list := slices.Clone(older.Ancestors)
	switch c.Verdict {
	case Same:
		return list, nil
	case Additive:
		form, err := Form(service, older)
		return append(list, form), err
	}
	for i, a := range list {
		if a.Fingerprint == c.New {
			c.Details = append(c.Details, "it has the form of an earlier version again, whose ancestors it keeps")
			return list[:i:i], nil
		}
	}
	return nil, nil
}
