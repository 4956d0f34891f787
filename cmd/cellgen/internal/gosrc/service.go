package gosrc

import (
	"go/ast"
	"strconv"
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// rpcPath is the package of Sender and Receiver.
const rpcPath = "github.com/cell-runtime/cell/rpc"

// service makes a service of a marked interface.
func (s *source) service(d *declaration) {
	name := d.spec.Name
	iface, ok := d.spec.Type.(*ast.InterfaceType)
	switch {
	case !ok:
		s.refuse(d.spec.Pos(), "%s is marked //cell:service, but is not an interface: a service is one", name.Name)
		return
	case d.spec.TypeParams != nil:
		s.refuse(d.spec.Pos(), "%s is generic: a service's messages are known beforehand", name.Name)
		return
	}
	service := &schema.Service{Name: name.Name, Doc: text(d.doc)}
	s.goName(name)
	s.places[name.Name] = name.Pos()
	for _, f := range iface.Methods.List {
		signature, ok := f.Type.(*ast.FuncType)
		if !ok || len(f.Names) != 1 {
			s.refuse(f.Pos(), "%s embeds an interface or lists types: write out the methods", name.Name)
			continue
		}
		s.places[name.Name+"."+f.Names[0].Name] = f.Pos()
		if m := s.method(f, signature); m != nil {
			service.Methods = append(service.Methods, *m)
		}
	}
	s.schema.Services = append(s.schema.Services, service)
}

// The forms of methods, as errors tell them.
const (
	unaryForm  = "M(ctx context.Context, req Request) (Reply, error), where either message may be missing"
	oneWayForm = "M(ctx context.Context, req Request) error"
	topicForm  = "M(event Event)"
)

func (s *source) method(f *ast.Field, signature *ast.FuncType) *schema.Method {
	name := f.Names[0]
	marks := s.directives(f.Doc, "oneway", "topic", "idempotent")
	if !name.IsExported() {
		s.refuse(name.Pos(), "method %s can't be called from other packages: export it", name.Name)
		return nil
	}
	if !s.goName(name) {
		return nil
	}
	m := &schema.Method{Name: name.Name, Doc: text(f.Doc, f.Comment), Idempotent: marks["idempotent"]}
	if marks["topic"] && marks["oneway"] {
		s.refuse(f.Pos(), "%s is marked both //cell:topic and //cell:oneway: it can be one of them", m.Name)
		return nil
	}
	in, out := flatten(signature.Params), flatten(signature.Results)
	if marks["topic"] {
		return s.topic(m, f, in, out)
	}
	if len(in) == 0 || !s.selects(in[0], "context", "Context") {
		s.refuse(f.Pos(), "%s needs a context.Context as its first parameter: %s", m.Name, unaryForm)
		return nil
	}
	if len(out) == 0 || !isError(out[len(out)-1]) || len(out) > 2 {
		s.refuse(f.Pos(), "%s must return an error, behind its reply if it has one: %s", m.Name, unaryForm)
		return nil
	}
	good := s.parameters(m, in[1:])
	reply := &schema.Type{Kind: schema.Struct}
	if len(out) == 2 {
		reply = s.message(out[0], m.Name)
	}
	m.Reply = reply
	if marks["oneway"] {
		if m.In != nil || m.Out != nil || len(out) != 1 {
			s.refuse(f.Pos(), "%s is marked //cell:oneway, but has a reply or a stream, which nobody would wait for: %s", m.Name, oneWayForm)
			return nil
		}
		m.Reply = nil
	}
	if !good || reply == nil {
		return nil
	}
	m.Mode = mode(m, marks["oneway"])
	return m
}

func mode(m *schema.Method, oneWay bool) schema.Mode {
	switch {
	case oneWay:
		return schema.OneWay
	case m.In != nil && m.Out != nil:
		return schema.BothStreams
	case m.In != nil:
		return schema.ClientStream
	case m.Out != nil:
		return schema.ServerStream
	}
	return schema.Unary
}

// topic makes a topic of a method marked so.
func (s *source) topic(m *schema.Method, f *ast.Field, in, out []ast.Expr) *schema.Method {
	if len(in) > 1 || len(out) != 0 {
		s.refuse(f.Pos(), "%s is marked //cell:topic, so it takes the event, if that has fields, and returns nothing: %s", m.Name, topicForm)
		return nil
	}
	m.Mode = schema.Topic
	m.Event = &schema.Type{Kind: schema.Struct}
	if len(in) == 1 {
		m.Event = s.message(in[0], m.Name)
	}
	if m.Event == nil {
		return nil
	}
	return m
}

// parameters takes what follows the context: the request, then streams, each
// at most once.
func (s *source) parameters(m *schema.Method, params []ast.Expr) bool {
	m.Request = &schema.Type{Kind: schema.Struct}
	good, seen := true, ""
	for _, p := range params {
		what, elem := s.stream(p)
		if what == "" {
			what = "request"
		}
		// The order is request, in, out.
		if rank := "request Receiver Sender"; strings.Index(rank, what) <= strings.Index(rank, seen) && seen != "" {
			s.refuse(p.Pos(), "%s: a method takes one request, then one rpc.Receiver[T] for what the client streams, then one rpc.Sender[T] for what the server does, each if it needs it: put the rest into the request", m.Name)
			return false
		}
		seen = what
		var t *schema.Type
		if what == "request" {
			t = s.message(p, m.Name)
			m.Request = t
		} else if t = s.message(elem, m.Name); what == "Receiver" {
			m.In = t
		} else {
			m.Out = t
		}
		good = good && t != nil
	}
	return good
}

// message returns the struct that expr names.
func (s *source) message(expr ast.Expr, method string) *schema.Type {
	if star, ok := ast.Unparen(expr).(*ast.StarExpr); ok {
		s.refuse(expr.Pos(), "%s: messages are passed by value: leave out the *", method)
		expr = star.X
	}
	before := len(s.problems)
	t := s.typeOf(expr)
	if t == nil {
		if len(s.problems) == before { // refused where it was met first
			s.refuse(expr.Pos(), "%s: its message can't travel, see there", method)
		}
		return nil
	}
	if t.Kind != schema.Struct {
		s.refuse(expr.Pos(), "%s: a message must be a struct, to which fields can be appended later: wrap %s in one", method, schema.TypeText(t))
		return nil
	}
	return t
}

// stream tells rpc.Sender[T] and rpc.Receiver[T] from other types.
func (s *source) stream(expr ast.Expr) (name string, elem ast.Expr) {
	index, ok := ast.Unparen(expr).(*ast.IndexExpr)
	if !ok {
		return "", nil
	}
	for _, name := range []string{"Sender", "Receiver"} {
		if s.selects(index.X, rpcPath, name) {
			return name, index.Index
		}
	}
	return "", nil
}

// selects reports whether expr is name of the package with that import path.
func (s *source) selects(expr ast.Expr, path, name string) bool {
	selector, ok := ast.Unparen(expr).(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != name {
		return false
	}
	pkg, ok := selector.X.(*ast.Ident)
	if !ok {
		return false
	}
	for _, spec := range s.main.Imports {
		from, err := strconv.Unquote(spec.Path.Value)
		if err != nil || from != path {
			continue
		}
		local := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == pkg.Name {
			return true
		}
	}
	return false
}

func isError(expr ast.Expr) bool {
	name, ok := ast.Unparen(expr).(*ast.Ident)
	return ok && name.Name == "error"
}

// flatten returns one type for each parameter or result.
func flatten(list *ast.FieldList) []ast.Expr {
	var all []ast.Expr
	if list == nil {
		return nil
	}
	for _, f := range list.List {
		for range max(1, len(f.Names)) {
			all = append(all, f.Type)
		}
	}
	return all
}
