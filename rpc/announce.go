package rpc

import (
	"fmt"
	"slices"

	"github.com/cell-runtime/cell/schema"
)

// Announce has the server speak of a service that it does not serve itself, as
// if it did: in lists, descriptions and at binding. It is for what a [Relay]
// reaches. A service that is announced already is no error. Errors:
// ErrArgument.
func (s *Server) Announce(d *ServiceDesc) error {
	if d == nil {
		return fmt.Errorf("%w: Announce needs a description", ErrArgument)
	}
	for i := range d.Methods {
		if d.Methods[i].service == nil {
			return fmt.Errorf("%w: the description of %s did not go through Describe", ErrArgument, d.Methods[i].Name)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.foreign[d]; known {
		return nil
	}
	if s.foreign == nil {
		s.foreign = make(map[*ServiceDesc]struct{})
	}
	s.foreign[d] = struct{}{}
	s.services = append(s.services, d)
	return nil
}

// Withdraw takes back Announce. A service that isn't announced is no error.
func (s *Server) Withdraw(d *ServiceDesc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.foreign[d]; known {
		delete(s.foreign, d)
		s.services = slices.DeleteFunc(slices.Clone(s.services), func(o *ServiceDesc) bool { return o == d })
	}
}

// announced returns the method of an announced service that takes a
// fingerprint, or nil.
func (s *Server) announced(fingerprint uint64) *Method {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.foreign {
		for i := range d.Methods {
			m := &d.Methods[i]
			if m.Fingerprint == fingerprint || slices.ContainsFunc(m.Ancestors, func(a schema.Ancestor) bool { return a.Fingerprint == fingerprint }) {
				return m
			}
		}
	}
	return nil
}

// ParseServices reads a canonical description ([schema.Parse]) and returns its
// services as generated code would describe them. Errors: those of
// [schema.Parse].
func ParseServices(text string) ([]*ServiceDesc, error) {
	parsed, err := schema.Parse(text)
	if err != nil {
		return nil, err
	}
	canonical, err := schema.Print(parsed)
	if err != nil {
		return nil, err
	}
	var all []*ServiceDesc
	for _, s := range parsed.Services {
		d := ServiceDesc{Name: s.Name, Digest: schema.Digest(s), Text: canonical}
		for j := range s.Methods {
			m, err := parsedMethod(s, &s.Methods[j])
			if err != nil {
				return nil, err
			}
			d.Methods = append(d.Methods, m)
		}
		all = append(all, Describe(d))
	}
	return all, nil
}

func parsedMethod(s *schema.Service, m *schema.Method) (Method, error) {
	d := Method{
		Name: m.Name, Fingerprint: schema.Fingerprint(s, m), Mode: m.Mode,
		Idempotent: m.Idempotent, Ancestors: m.Ancestors,
	}
	shapes := [...]*Shape{
		schema.SlotRequest: &d.Request, schema.SlotReply: &d.Reply, schema.SlotIn: &d.In,
		schema.SlotOut: &d.Out, schema.SlotEvent: &d.Event,
	}
	for slot, shape := range shapes {
		t := m.Message(schema.Slot(slot))
		if t == nil || t.Name == "" {
			continue
		}
		root, err := schema.RootLayout(t)
		if err != nil {
			return d, err
		}
		*shape = Shape{Block: root.Size, Variable: !root.Fixed}
	}
	return d, nil
}
