package rpc

import (
	"github.com/cell-runtime/cell/schema"
)

// ServiceDesc describes a service: what generated code says of it, once, in a
// static variable made by [Describe]. It must not be changed afterwards.
type ServiceDesc struct {
	// Name is the service's name within its description.
	Name string
	// Digest is SHA-256 over the sorted identities of the methods.
	Digest [32]byte
	// Text is the canonical description from which the code was generated.
	// A server hands it out on request (see [Describe] of [Operations]).
	Text string
	// Methods in the order of the description.
	Methods []Method
}

// Method describes one method or topic.
type Method struct {
	Name        string
	Fingerprint uint64 // first 8 bytes of SHA-256 over the identity; never 0
	Mode        schema.Mode
	// Idempotent methods may be sent again after a loss of the link.
	Idempotent bool
	// Shapes of the messages that the mode has.
	Request, Reply, In, Out, Event Shape
	// Ancestors are earlier forms that a server of this method accepts.
	Ancestors []schema.Ancestor

	service *ServiceDesc
	index   int
}

// Shape is what this package must know of a message without its type.
type Shape struct {
	// Block is the length in bytes of the root block.
	Block int
	// Variable: parts of variable length follow the block. A message that
	// isn't variable is its block and nothing else.
	Variable bool
}

// Describe completes a description and returns it. It is how generated code
// initialises its description:
//
//	var ArithDesc = rpc.Describe(rpc.ServiceDesc{ … })
func Describe(d ServiceDesc) *ServiceDesc {
	s := &d
	for i := range s.Methods {
		s.Methods[i].service, s.Methods[i].index = s, i
	}
	return s
}

// Method returns the method of that name, or nil.
func (d *ServiceDesc) Method(name string) *Method {
	for i := range d.Methods {
		if d.Methods[i].Name == name {
			return &d.Methods[i]
		}
	}
	return nil
}

// Service returns the description that the method is part of, or nil if that
// did not go through [Describe].
func (m *Method) Service() *ServiceDesc { return m.service }

// String returns "Service.Method".
func (m *Method) String() string {
	if m.service == nil {
		return m.Name
	}
	return m.service.Name + "." + m.Name
}
