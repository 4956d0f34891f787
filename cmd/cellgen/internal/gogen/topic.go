package gogen

import (
	"fmt"

	"github.com/cell-runtime/cell/schema"
)

// topics writes publishers and listeners of a service's topics.
func (g *generator) topics(s service) {
	for _, m := range s.methods() {
		if m.Mode != schema.Topic {
			continue
		}
		name := s.name + m.name
		for _, own := range []string{"Publisher", "Broadcast", "Listener"} {
			g.claim(name+own, "a name of the topic "+m.Name)
			g.claim("New"+name+own, "a name of the topic "+m.Name)
		}
		g.publisher(m, name)
		g.broadcast(m, name)
		g.listener(m, name)
	}
}

func (g *generator) publisher(m method, name string) {
	g.comment("", fmt.Sprintf("%sPublisher publishes %s to those who have subscribed over links.", name, m.name), m.Doc)
	g.p("type %sPublisher struct{ *rpc.Publisher }\n", name)
	g.comment("", fmt.Sprintf("New%sPublisher returns a publisher on s, where the service is registered.", name))
	g.p("func New%sPublisher(s *rpc.Server) (%sPublisher, error) {", name, name)
	g.p("\tp, err := s.Publisher(%s)\n\treturn %sPublisher{p}, err\n}\n", m.desc, name)
	g.comment("", "Publish sends an event to all subscribers; see rpc.Publisher.")
	if m.event == "" {
		g.p("func (p %sPublisher) Publish(ctx context.Context) error {\n\treturn p.Publisher.Publish(ctx, rpc.Empty{})\n}\n", name)
		return
	}
	g.p("func (p %sPublisher) Publish(ctx context.Context, e %s) error {\n\treturn p.Publisher.Publish(ctx, &e)\n}\n", name, m.event)
}

func (g *generator) broadcast(m method, name string) {
	if m.event == "" {
		return
	}
	fixed := g.fixed(m.Event)
	g.comment("", fmt.Sprintf("%sBroadcast publishes %s through a broadcast ring, to any number of listeners of this host; see rpc.Broadcast. It belongs to one goroutine at a time.", name, m.name))
	g.p("type %sBroadcast struct {\n\t*rpc.Broadcast\n\tlease view.Lease", name)
	if !fixed {
		g.p("\ta view.Arena")
	}
	g.p("}\n")
	g.comment("", fmt.Sprintf("New%sBroadcast returns a publisher through r.", name))
	g.p("func New%sBroadcast(r *ring.Publisher) (*%sBroadcast, error) {", name, name)
	g.p("\tb, err := rpc.NewBroadcast(r, %s)\n\tif err != nil {\n\t\treturn nil, err\n\t}\n\treturn &%sBroadcast{Broadcast: b}, nil\n}\n", m.desc, name)
	begin := "Begin begins an event in the ring's memory: set its fields, then call Send before anything else."
	if fixed {
		g.comment("", begin)
		g.p("func (b *%sBroadcast) Begin() (%sBuilder, error) {", name, m.event)
		g.p("\tplace, err := b.Broadcast.Begin(%s)", rootForm(m.Event).block)
		g.p("\tif err != nil {\n\t\treturn %sBuilder{}, err\n\t}\n\te, err := Build%s(place)", m.event, m.event)
	} else {
		g.comment("", begin+" size is the room in bytes for all of the event.")
		g.p("func (b *%sBroadcast) Begin(size int) (%sBuilder, error) {", name, m.event)
		g.p("\tplace, err := b.Broadcast.Begin(size)")
		g.p("\tif err != nil {\n\t\treturn %sBuilder{}, err\n\t}\n\te, err := Build%s(place, &b.a)", m.event, m.event)
	}
	g.p("\tb.lease = view.Lend()\n\te.lease = b.lease\n\treturn e, err\n}\n")
	g.comment("", "Send accepts the event begun. It reaches listeners with the next Flush, or earlier.")
	g.p("func (b *%sBroadcast) Send(e %sBuilder) error {", name, m.event)
	g.p("\tb.lease.End()\n\tn, err := e.Finish()\n\tif err == nil {\n\t\tb.Broadcast.Send(n)\n\t}\n\treturn err\n}\n")
	g.comment("", "Publish sends a copy of an event. It reaches listeners with the next Flush, or earlier.")
	g.p("func (b *%sBroadcast) Publish(e %s) error { return b.Broadcast.Publish(&e) }\n", name, m.event)
}

func (g *generator) listener(m method, name string) {
	if m.event == "" {
		return
	}
	g.comment("", fmt.Sprintf("%sListener receives %s from a broadcast ring; see rpc.Listener. It belongs to one goroutine at a time.", name, m.name))
	g.p("type %sListener struct{ *rpc.Listener }\n", name)
	g.comment("", fmt.Sprintf("New%sListener returns a listener on s.", name))
	g.p("func New%sListener(s *ring.Subscriber) (%sListener, error) {", name, name)
	g.p("\tl, err := rpc.NewListener(s, %s)\n\treturn %sListener{l}, err\n}\n", m.desc, name)
	g.comment("", "Poll hands the next events to f, each valid until f returns, and returns how many there were; 0 means none now.")
	g.p("func (l %sListener) Poll(f func(e %sView)) (int, error) {", name, m.event)
	g.p("\treturn l.Listener.Poll(func(msg []byte) {\n\t\te := View%s(msg)\n\t\te.lease = view.Lend()\n\t\tf(e)\n\t\te.lease.End()\n\t})\n}\n", m.event)
	g.comment("", "Receive waits for the next event.")
	g.p("func (l %sListener) Receive() (e %s, err error) {\n\terr = l.Listener.Receive(&e)\n\treturn e, err\n}\n", name, m.event)
}
