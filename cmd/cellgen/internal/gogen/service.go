package gogen

import (
	"fmt"
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// service is a service while its code is written.
type service struct {
	*schema.Service
	name  string // in Go
	local string // what names of its own begin with
}

// services writes everything about the schema's services.
func (g *generator) services() error {
	for _, s := range g.schema.Services {
		name := GoName(s.Name)
		service := service{s, name, strings.ToLower(name[:1]) + name[1:]}
		for _, own := range []string{
			name + "Desc", name + "Client", "New" + name + "Client", "Register" + name, name + "Views",
			"Register" + name + "Views", name + "Async", "New" + name + "Async",
			service.local + "Server", service.local + "Inline",
		} {
			g.claim(own, "a name of the service "+s.Name)
		}
		g.userInterface(service)
		if err := g.description(service); err != nil {
			return err
		}
		g.client(service)
		g.server(service)
		g.inline(service)
		g.async(service)
		g.topics(service)
	}
	return nil
}

// method is a method while its code is written. Types of messages are the Go
// names, "" for empty messages.
type method struct {
	*schema.Method
	name  string // in Go
	local string // with the service's name, as unexported names begin
	desc  string // the expression for its rpc.Method

	request, reply, in, out, event string
}

func (s service) methods() []method {
	all := make([]method, len(s.Methods))
	for i := range s.Methods {
		m := &s.Methods[i]
		of := func(t *schema.Type) string {
			if t == nil || t.Name == "" {
				return ""
			}
			return GoName(t.Name)
		}
		name := GoName(m.Name)
		all[i] = method{
			Method: m, name: name, local: s.local + name,
			desc:    fmt.Sprintf("&%sDesc.Methods[%s]", s.name, s.local+name),
			request: of(m.Request), reply: of(m.Reply), in: of(m.In), out: of(m.Out), event: of(m.Event),
		}
	}
	return all
}

// inlined reports whether views can serve the method.
func (m method) inlined() bool { return m.Mode == schema.Unary || m.Mode == schema.OneWay }

// orEmpty returns the type of a message.
func orEmpty(name string) string {
	if name == "" {
		return "rpc.Empty"
	}
	return name
}

// results returns the results of a method that ends with a reply.
func results(reply string) string {
	if reply == "" {
		return "error"
	}
	return "(" + reply + ", error)"
}

// signature returns the method as the user's interface has it.
func (m method) signature() string {
	if m.Mode == schema.Topic && m.event == "" {
		return m.name + "()"
	}
	if m.Mode == schema.Topic {
		return fmt.Sprintf("%s(e %s)", m.name, m.event)
	}
	params := "ctx context.Context"
	if m.request != "" {
		params += ", req " + m.request
	}
	if m.in != "" {
		params += ", in rpc.Receiver[" + m.in + "]"
	}
	if m.out != "" {
		params += ", out rpc.Sender[" + m.out + "]"
	}
	return fmt.Sprintf("%s(%s) %s", m.name, params, results(m.reply))
}

// userInterface writes the interface that the service is, unless the package
// has it already.
func (g *generator) userInterface(s service) {
	if g.opts.Declared[s.name] {
		g.taken[s.name] = "a service of the schema"
		return
	}
	g.claim(s.name, "a service of the schema")
	g.comment("", about(s.name, s.Doc, s.name+" is a service."))
	g.p("type %s interface {", s.name)
	for _, m := range s.methods() {
		g.comment("\t", m.Doc)
		g.p("\t%s", m.signature())
	}
	g.p("}\n")
}

var modeNames = map[schema.Mode]string{
	schema.Unary: "Unary", schema.OneWay: "OneWay", schema.ServerStream: "ServerStream",
	schema.ClientStream: "ClientStream", schema.BothStreams: "BothStreams", schema.Topic: "Topic",
}

// description writes the static description of a service.
func (g *generator) description(s service) error {
	g.needText = true
	methods := s.methods()
	g.p("// Fingerprints of the methods of %s.\nconst (", s.name)
	for _, m := range methods {
		name := s.name + m.name + "Fingerprint"
		g.claim(name, "a fingerprint")
		g.p("\t%s uint64 = 0x%s", name, schema.FormatFingerprint(schema.Fingerprint(s.Service, m.Method)))
	}
	g.p(")\n")
	g.p("// Indexes into %sDesc.Methods.\nconst (", s.name)
	for i, m := range methods {
		g.claim(m.local, "an index of a method")
		g.p("\t%s = %d", m.local, i)
	}
	g.p(")\n")
	digest := schema.Digest(s.Service)
	g.p("// %sDesc describes %s.\nvar %sDesc = rpc.Describe(rpc.ServiceDesc{", s.name, s.name, s.name)
	g.p("\tName: %q,\n\tDigest: [32]byte{", s.Name)
	for row := 0; row < len(digest); row += 8 {
		line := "\t\t"
		for _, b := range digest[row : row+8] {
			line += fmt.Sprintf("0x%02x, ", b)
		}
		g.p("%s", strings.TrimRight(line, " "))
	}
	g.p("\t},\n\tText: %sCell,\n\tMethods: []rpc.Method{", g.textName())
	for _, m := range methods {
		if err := g.methodDescription(s, m); err != nil {
			return err
		}
	}
	g.p("\t},\n})\n")
	return nil
}

func (g *generator) methodDescription(s service, m method) error {
	head := fmt.Sprintf("Name: %q, Fingerprint: %s%sFingerprint, Mode: schema.%s,", m.Name, s.name, m.name, modeNames[m.Mode])
	if m.Idempotent {
		head += " Idempotent: true,"
	}
	g.p("\t\t{\n\t\t\t%s", head)
	for slot := schema.SlotRequest; slot <= schema.SlotEvent; slot++ {
		t := m.Message(slot)
		if t == nil || t.Name == "" {
			continue
		}
		root, err := schema.RootLayout(t)
		if err != nil {
			return err
		}
		variable := ""
		if !root.Fixed {
			variable = ", Variable: true"
		}
		g.p("\t\t\t%s: rpc.Shape{Block: %s%s},", slotField(slot), rootForm(t).block, variable)
	}
	if len(m.Ancestors) > 0 {
		g.p("\t\t\tAncestors: []schema.Ancestor{")
		for _, a := range m.Ancestors {
			line := fmt.Sprintf("Fingerprint: 0x%s", schema.FormatFingerprint(a.Fingerprint))
			for slot := schema.SlotRequest; slot <= schema.SlotEvent; slot++ {
				if n := a.Length(slot); n != 0 {
					line += fmt.Sprintf(", %s: %d", slotField(slot), n)
				}
			}
			g.p("\t\t\t\t{%s},", line)
		}
		g.p("\t\t\t},")
	}
	g.p("\t\t},")
	return nil
}

// slotField is the name of the fields of rpc.Method and schema.Ancestor.
func slotField(s schema.Slot) string { return GoName(s.String()) }
