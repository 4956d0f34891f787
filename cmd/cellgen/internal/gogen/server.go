package gogen

import (
	"fmt"

	"github.com/cell-runtime/cell/schema"
)

// server writes what serves the user's interface on goroutines.
func (g *generator) server(s service) {
	g.comment("", fmt.Sprintf("Register%s serves %s by impl, on goroutines of the server's pool.", s.name, s.name))
	if s.called() {
		g.p("func Register%s(s *rpc.Server, impl %s) error {\n\tg := %sServer{impl}", s.name, s.name, s.local)
	} else {
		g.p("func Register%s(s *rpc.Server, _ %s) error {", s.name, s.name)
	}
	g.p("\treturn s.Register(%sDesc,", s.name)
	for _, m := range s.methods() {
		if m.Mode == schema.Topic {
			g.p("\t\trpc.Handler{}, // %s is published", m.name)
		} else {
			g.p("\t\trpc.Blocking(g.%s),", m.handler())
		}
	}
	g.p("\t)\n}\n")
	if s.called() {
		g.p("type %sServer struct{ impl %s }\n", s.local, s.name)
	}
	for _, m := range s.methods() {
		if m.Mode != schema.Topic {
			g.serverMethod(s.local+"Server", m)
		}
	}
}

// called reports whether anything can be called, as opposed to topics.
func (s service) called() bool {
	for _, m := range s.Methods {
		if m.Mode != schema.Topic {
			return true
		}
	}
	return false
}

// handler is the name of the method that serves m.
func (m method) handler() string { return "serve" + m.name }

// serverMethod writes the method of recv by which a goroutine serves m.
func (g *generator) serverMethod(recv string, m method) {
	g.p("func (g %s) %s(ctx context.Context, x *rpc.Exchange) error {", recv, m.handler())
	args := "ctx"
	if m.request != "" {
		g.p("\tvar req %s", m.request)
		if g.fixed(m.Request) {
			g.p("\tif err := Check%s(x.Request(), x.RequestBlock()); err != nil {\n\t\t%s\n\t}", m.request, malformed)
			g.p("\treq.getCell(View%s(x.Request()))", m.request)
		} else {
			g.p("\tif err := req.decodeCell(x.Request(), x.RequestBlock()); err != nil {\n\t\t%s\n\t}", malformed)
		}
		args += ", req"
	}
	if m.in != "" {
		args += fmt.Sprintf(", rpc.NewReceiver[%s](x)", m.in)
	}
	if m.out != "" {
		args += fmt.Sprintf(", rpc.NewSender[%s](x)", m.out)
	}
	if m.reply == "" {
		g.p("\treturn g.impl.%s(%s)\n}\n", m.name, args)
		return
	}
	g.p("\treply, err := g.impl.%s(%s)\n\tif err != nil {\n\t\treturn err\n\t}\n\treturn x.Reply(&reply)\n}\n", m.name, args)
}

// malformed returns from a handler whose request can't be read.
const malformed = `return rpc.Errorf(wire.StatusInvalidArgument, "malformed request: %w", err)`

// inline writes what serves views on the thread of an engine.
func (g *generator) inline(s service) {
	methods := s.methods()
	streams, inlined := false, false
	for _, m := range methods {
		streams = streams || !m.inlined() && m.Mode != schema.Topic
		inlined = inlined || m.inlined()
	}
	if !inlined {
		return
	}
	lead := fmt.Sprintf("%sViews serves %s on the engine's thread: unary and one-way methods over views of the request and builders of the reply, both in the link's memory and valid until the method returns. They must not block.", s.name, s.name)
	if streams {
		lead += " Methods with streams are served as in " + s.name + "."
	}
	g.comment("", lead)
	g.p("type %sViews interface {", s.name)
	for _, m := range methods {
		switch {
		case m.Mode == schema.Topic:
			continue
		case m.inlined():
			g.comment("\t", m.Doc)
			g.p("\t%s", m.inlineSignature())
		default:
			g.comment("\t", m.Doc)
			g.p("\t%s", m.signature())
		}
	}
	g.p("}\n")
	g.comment("", fmt.Sprintf("Register%sViews serves %s by impl, its unary and one-way methods on the engine's thread.", s.name, s.name))
	g.p("func Register%sViews(s *rpc.Server, impl %sViews) error {\n\tg := %sInline{impl}\n\treturn s.Register(%sDesc,", s.name, s.name, s.local, s.name)
	for _, m := range methods {
		switch {
		case m.Mode == schema.Topic:
			g.p("\t\trpc.Handler{}, // %s is published", m.name)
		case m.inlined():
			g.p("\t\trpc.Inline(g.%s),", m.handler())
		default:
			g.p("\t\trpc.Blocking(g.%s),", m.handler())
		}
	}
	g.p("\t)\n}\n")
	g.p("type %sInline struct{ impl %sViews }\n", s.local, s.name)
	for _, m := range methods {
		switch {
		case m.inlined():
			g.inlineMethod(s, m)
		case m.Mode != schema.Topic:
			g.serverMethod(s.local+"Inline", m)
		}
	}
}

// inlineSignature returns the method as the interface of views has it.
func (m method) inlineSignature() string {
	params := "c *rpc.Call"
	if m.request != "" {
		params += ", req " + m.request + "View"
	}
	if m.reply != "" {
		params += ", reply " + m.reply + "Builder"
	}
	return fmt.Sprintf("%s(%s) error", m.name, params)
}

func (g *generator) inlineMethod(s service, m method) {
	req, place, args := "_", "_", "c"
	if m.request != "" {
		req = "msg"
	}
	if m.reply != "" {
		place = "place"
	}
	g.p("func (g %sInline) %s(c *rpc.Call, %s, %s []byte) (int, error) {", s.local, m.handler(), req, place)
	if m.request != "" {
		g.p("\tif err := Check%s(msg, c.RequestBlock()); err != nil {\n\t\treturn 0, %s\n\t}", m.request, malformed[len("return "):])
		g.p("\treq := View%s(msg)", m.request)
		args += ", req"
	}
	if m.reply != "" {
		arena := ""
		if !g.fixed(m.Reply) {
			arena = ", c.Arena()"
		}
		g.p("\treply, err := Build%s(place%s)\n\tif err != nil {\n\t\treturn 0, err\n\t}", m.reply, arena)
		args += ", reply"
	}
	if m.request != "" || m.reply != "" {
		g.p("\tlease := view.Lend()")
	}
	if m.request != "" {
		g.p("\treq.lease = lease")
	}
	switch {
	case m.reply != "":
		g.p("\treply.lease = lease\n\terr = g.impl.%s(%s)\n\tlease.End()", m.name, args)
		g.p("\tif err != nil {\n\t\treturn 0, err\n\t}\n\treturn reply.Finish()\n}\n")
	case m.request != "":
		g.p("\terr := g.impl.%s(%s)\n\tlease.End()\n\treturn 0, err\n}\n", m.name, args)
	default:
		g.p("\treturn 0, g.impl.%s(%s)\n}\n", m.name, args)
	}
}
