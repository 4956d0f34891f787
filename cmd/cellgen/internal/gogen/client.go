package gogen

import (
	"fmt"

	"github.com/cell-runtime/cell/schema"
)

// client writes the client whose methods block.
func (g *generator) client(s service) {
	methods := s.methods()
	begun := false
	for _, m := range methods {
		if m.Mode == schema.Unary {
			if !begun {
				g.p("var (")
				begun = true
			}
			g.claim(m.local+"Calls", "a name of the client")
			g.p("\t%sCalls rpc.Calls[%s, %s]", m.local, orEmpty(m.request), orEmpty(m.reply))
		}
	}
	if begun {
		g.p(")\n")
	}
	g.comment("", fmt.Sprintf("%sClient calls %s through an rpc.Caller. Its methods may be called from any number of goroutines.", s.name, s.name))
	g.p("type %sClient struct{ caller rpc.Caller }\n", s.name)
	g.p("// New%sClient returns a client that calls through c.", s.name)
	g.p("func New%sClient(c rpc.Caller) *%sClient { return &%sClient{c} }\n", s.name, s.name, s.name)
	same := true
	for _, m := range methods {
		g.clientMethod(s, m)
		same = same && m.inlined()
	}
	if same {
		g.p("var _ %s = (*%sClient)(nil)\n", s.name, s.name)
	}
}

func (g *generator) clientMethod(s service, m method) {
	recv := fmt.Sprintf("func (c *%sClient)", s.name)
	params, req := "ctx context.Context", "rpc.Empty{}"
	if m.request != "" {
		params, req = params+", req "+m.request, "req"
	}
	reference := req
	if m.request != "" {
		reference = "&req"
	}
	switch m.Mode {
	case schema.Unary:
		g.comment("", about(m.name, m.Doc, m.name+" calls the method of that name."))
		g.p("%s %s {", recv, m.signature())
		if m.reply == "" {
			g.p("\t_, err := %sCalls.Call(ctx, c.caller, %s, %s)\n\treturn err\n}\n", m.local, m.desc, req)
			return
		}
		g.p("\treturn %sCalls.Call(ctx, c.caller, %s, %s)\n}\n", m.local, m.desc, req)
	case schema.OneWay:
		g.comment("", about(m.name, m.Doc, m.name+" sends the request."), "nil means that it is on its way, not that it arrived.")
		g.p("%s %s {\n\treturn c.caller.Send(ctx, %s, %s)\n}\n", recv, m.signature(), m.desc, reference)
	case schema.Topic:
		g.comment("", about(m.name, m.Doc, m.name+" subscribes to the topic."), "The subscription lives until its Close or the end of ctx.")
		g.p("%s %s(ctx context.Context, o rpc.SubscribeOptions) (*rpc.Events[%s], error) {", recv, m.name, orEmpty(m.event))
		g.p("\ts, err := c.caller.Subscribe(ctx, %s, o)\n\tif err != nil {\n\t\treturn nil, err\n\t}", m.desc)
		g.p("\treturn rpc.NewEvents[%s](s), nil\n}\n", orEmpty(m.event))
	default:
		typ := m.streamType()
		g.comment("", about(m.name, m.Doc, m.name+" begins a call with streams."), "The call lives until its Reply, its Close or the end of ctx.")
		g.p("%s %s(%s) (*rpc.%s, error) {", recv, m.name, params, typ)
		g.p("\ts, err := c.caller.Stream(ctx, %s, %s)\n\tif err != nil {\n\t\treturn nil, err\n\t}", m.desc, reference)
		g.p("\treturn rpc.New%s(s), nil\n}\n", typ)
	}
}

// streamType returns the client's side of a call with streams.
func (m method) streamType() string {
	switch m.Mode {
	case schema.ServerStream:
		return fmt.Sprintf("Incoming[%s, %s]", m.out, orEmpty(m.reply))
	case schema.ClientStream:
		return fmt.Sprintf("Outgoing[%s, %s]", m.in, orEmpty(m.reply))
	}
	return fmt.Sprintf("Duplex[%s, %s, %s]", m.in, m.out, orEmpty(m.reply))
}

// async writes the client for the thread of an engine.
func (g *generator) async(s service) {
	var unary []method
	for _, m := range s.methods() {
		if m.Mode == schema.Unary {
			unary = append(unary, m)
		}
	}
	if len(unary) == 0 {
		return
	}
	g.comment("", fmt.Sprintf("%sAsync makes the unary calls of %s on the thread of an engine: requests are built and replies read in the link's memory, and nothing is allocated.", s.name, s.name))
	g.p("type %sAsync struct {\n\tconn *rpc.AsyncConn\n\ta view.Arena\n\tlease view.Lease", s.name)
	for _, m := range unary {
		g.p("\t%s *rpc.Bound", "bound"+m.name)
	}
	g.p("}\n")
	g.p("// New%sAsync returns a client that calls through c.", s.name)
	g.p("func New%sAsync(c *rpc.AsyncConn) *%sAsync {\n\treturn &%sAsync{\n\t\tconn: c,", s.name, s.name, s.name)
	for _, m := range unary {
		g.p("\t\tbound%s: c.Bind(%s),", m.name, m.desc)
	}
	g.p("\t}\n}\n")
	for _, m := range unary {
		g.asyncMethod(s, m)
	}
}

func (g *generator) asyncMethod(s service, m method) {
	replyView, noReply, reply := "", "", ""
	if m.reply != "" {
		replyView, noReply, reply = m.reply+"View, ", "View"+m.reply+"(nil), ", "reply, "
	}
	done := fmt.Sprintf("func(tag uint64, %serr error)", prefix("reply ", replyView))
	what := "A done that is made once, and not for each call, costs no allocation."
	if m.request == "" {
		g.comment("", about(m.name, m.Doc, m.name+" calls the method of that name."),
			"done runs on the engine's thread when the call ends, with the tag that was given; the reply may be read until it returns. "+what)
		g.p("func (c *%sAsync) %s(tag uint64, done %s) error {", s.name, m.name, done)
		g.p("\tif _, err := c.conn.Begin(c.bound%s, 0); err != nil {\n\t\treturn err\n\t}", m.name)
		g.p("\treturn c.conn.Send(0, %sDone, done, tag)\n}\n", m.local)
	} else {
		g.asyncBegin(s, m)
		g.comment("", fmt.Sprintf("Send%s sends the request that Begin%s began.", m.name, m.name)+
			" done runs on the engine's thread when the call ends, with the tag that was given; the reply may be read until it returns. "+what)
		g.p("func (c *%sAsync) Send%s(req %sBuilder, tag uint64, done %s) error {", s.name, m.name, m.request, done)
		g.p("\tc.lease.End()\n\tn, err := req.Finish()\n\tif err != nil {\n\t\tc.conn.Abort()\n\t\treturn err\n\t}")
		g.p("\treturn c.conn.Send(n, %sDone, done, tag)\n}\n", m.local)
	}
	g.claim(m.local+"Done", "a completion")
	g.p("func %sDone(r *rpc.Completion) {\n\tdone := r.Done().(func(uint64, %serror))", m.local, replyView)
	if m.reply == "" {
		g.p("\tdone(r.Tag, r.Err)\n}\n")
		return
	}
	g.p("\tif r.Err != nil {\n\t\tdone(r.Tag, %sr.Err)\n\t\treturn\n\t}", noReply)
	if !g.fixed(m.Reply) {
		g.p("\tif err := Check%s(r.Reply, 0); err != nil {\n\t\tdone(r.Tag, %srpc.Errorf(wire.StatusInternal, \"malformed reply: %%w\", err))\n\t\treturn\n\t}", m.reply, noReply)
	}
	g.p("\treply := View%s(r.Reply)\n\treply.lease = view.Lend()", m.reply)
	g.p("\tdone(r.Tag, %snil)\n\treply.lease.End()\n}\n", reply)
}

// prefix returns first and second, or nothing if second is empty.
func prefix(first, second string) string {
	if second == "" {
		return ""
	}
	return first + second
}

// asyncBegin writes the method that begins a request.
func (g *generator) asyncBegin(s service, m method) {
	lead := fmt.Sprintf("Begin%s begins a call of %s: set the fields of the request in place, then call Send%s, before anything else is begun on this connection.", m.name, m.name, m.name)
	if g.fixed(m.Request) {
		g.comment("", lead, m.Doc)
		g.p("func (c *%sAsync) Begin%s() (%sBuilder, error) {", s.name, m.name, m.request)
		g.p("\tplace, err := c.conn.Begin(c.bound%s, %s)", m.name, rootForm(m.Request).block)
		g.p("\tif err != nil {\n\t\treturn %sBuilder{}, err\n\t}\n\treq, err := Build%s(place)", m.request, m.request)
	} else {
		g.comment("", lead+" size is the room in bytes for all of the request.", m.Doc)
		g.p("func (c *%sAsync) Begin%s(size int) (%sBuilder, error) {", s.name, m.name, m.request)
		g.p("\tplace, err := c.conn.Begin(c.bound%s, size)", m.name)
		g.p("\tif err != nil {\n\t\treturn %sBuilder{}, err\n\t}\n\treq, err := Build%s(place, &c.a)", m.request, m.request)
	}
	g.p("\tif err != nil {\n\t\tc.conn.Abort()\n\t\treturn req, err\n\t}")
	g.p("\tc.lease = view.Lend()\n\treq.lease = c.lease\n\treturn req, nil\n}\n")
}

// fixed reports whether a message has no variable parts. It is laid out
// already, so there is no error.
func (g *generator) fixed(t *schema.Type) bool {
	l, err := schema.LayoutOf(t)
	return err == nil && l.Fixed
}
