package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cell-runtime/cell/bulk"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// Binding is what a server does about a method as a client knows it.
type Binding uint8

// The outcomes of binding a method.
const (
	BindSame   Binding = iota + 1 // the server has the same form
	BindNewer                     // the server's form is newer and it accepts this one
	BindOlder                     // the server knows an ancestor of this form, which is sent
	BindBroken                    // the server has another form: wire.StatusFingerprint
	BindAbsent                    // the server has no such method: wire.StatusUnimplemented
)

var bindingNames = [...]string{
	BindSame: "same", BindNewer: "the server is newer", BindOlder: "the server is older",
	BindBroken: "another schema", BindAbsent: "absent",
}

// String says the outcome in words.
func (b Binding) String() string {
	if int(b) < len(bindingNames) && bindingNames[b] != "" {
		return bindingNames[b]
	}
	return "unknown"
}

// MethodBinding is the outcome for one method.
type MethodBinding struct {
	Method  *Method
	Outcome Binding
	// Use is the fingerprint that is sent; 0 if the method can't be called.
	Use uint64
	// Current is the fingerprint of the form by which the server serves it or,
	// if it doesn't, of its newest method of that name; 0 if it has none.
	Current uint64
	// Err is why the method can't be called, an [*Error] with
	// wire.StatusFingerprint or wire.StatusUnimplemented.
	Err error
}

// Bind asks the server what it does about each method of a service, and has
// this connection send the fingerprints that it serves. It is optional: a call
// that the server refuses as unknown binds its service by itself. The error is
// that of the first method that can't be called, or why the server could not
// be asked.
func (c *Conn) Bind(ctx context.Context, d *ServiceDesc) ([]MethodBinding, error) {
	s, err := c.session(ctx, nil)
	if err != nil {
		return nil, err
	}
	all, err := c.bindOn(ctx, s, d)
	if err != nil {
		return nil, err
	}
	return all, firstError(all)
}

// bindOn binds a service on one link.
func (c *Conn) bindOn(ctx context.Context, s *session, d *ServiceDesc) ([]MethodBinding, error) {
	var reply BindReply
	if err := c.operateJSON(ctx, s, OpBind, bindRequest(d), &reply); err != nil {
		return nil, err
	}
	all, broken, err := judgeAll(d, &reply)
	if err != nil {
		return nil, err
	}
	if broken {
		theirs, _ := c.operateOn(ctx, s, OpDescribe, []byte(d.Name)) // without it, less can be said
		explain(all, string(theirs))
	}
	s.learn(d, all)
	return all, nil
}

func bindRequest(d *ServiceDesc) BindRequest {
	q := BindRequest{Service: d.Name, Digest: fmt.Sprintf("%x", d.Digest)}
	for i := range d.Methods {
		m := &d.Methods[i]
		q.Methods = append(q.Methods, BindMethod{Name: m.Name, Fingerprint: schema.FormatFingerprint(m.Fingerprint), Ancestors: ancestorsOf(m)})
	}
	return q
}

// judgeAll says what a server's answer means for each method. broken: one has
// another schema there, and explain should be called.
func judgeAll(d *ServiceDesc, reply *BindReply) (all []MethodBinding, broken bool, err error) {
	if len(reply.Methods) != len(d.Methods) {
		return nil, false, failure(nil, wire.StatusInternal, nil, "the server answered for %d methods of %d", len(reply.Methods), len(d.Methods))
	}
	all = make([]MethodBinding, len(d.Methods))
	for i := range all {
		b := &all[i]
		b.Method = &d.Methods[i]
		b.Use, _ = parseFingerprint(reply.Methods[i].Use)
		b.Current, _ = parseFingerprint(reply.Methods[i].Current)
		b.judge()
		broken = broken || b.Outcome == BindBroken
	}
	return all, broken, nil
}

// explain says what differs in methods with another schema. theirs is the
// server's description, "" if it could not be had.
func explain(all []MethodBinding, theirs string) {
	for i := range all {
		if b := &all[i]; b.Outcome == BindBroken {
			b.Err = failure(b.Method, wire.StatusFingerprint, nil, "%s", mismatch(b, theirs))
		}
	}
}

// judge says in a word what the fingerprints mean.
func (b *MethodBinding) judge() {
	own := b.Method.Fingerprint
	switch {
	case b.Use == own && (b.Current == own || b.Current == 0):
		b.Outcome = BindSame
	case b.Use == own:
		b.Outcome = BindNewer
	case b.Use != 0:
		b.Outcome = BindOlder
	case b.Current != 0:
		b.Outcome = BindBroken
	default:
		b.Outcome = BindAbsent
		b.Err = failure(b.Method, wire.StatusUnimplemented, nil, "the server has no such method")
	}
}

// mismatch names both fingerprints and, as far as both descriptions can be
// read, what differs.
func mismatch(b *MethodBinding, theirs string) string {
	text := fmt.Sprintf("this client has fingerprint %s, the server %s",
		schema.FormatFingerprint(b.Method.Fingerprint), schema.FormatFingerprint(b.Current))
	if b.Method.service == nil {
		return text
	}
	mine, err := schema.Parse(b.Method.service.Text)
	if err != nil {
		return text
	}
	other, err := schema.Parse(theirs)
	if err != nil {
		return text
	}
	for _, change := range schema.Diff(mine, other) {
		if change.Service == b.Method.service.Name && change.Method == b.Method.Name && len(change.Details) > 0 {
			return text + "; from this client to the server: " + strings.Join(change.Details, "; ")
		}
	}
	return text
}

// Operate performs one of the server's built-in operations; see [Operation].
func (c *Conn) Operate(ctx context.Context, op Operation, request []byte) ([]byte, error) {
	s, err := c.session(ctx, nil)
	if err != nil {
		return nil, err
	}
	return c.operateOn(ctx, s, op, request)
}

func (c *Conn) operateOn(ctx context.Context, s *session, op Operation, request []byte) ([]byte, error) {
	budget := budgetOf(ctx, c.opts.Timeout)
	if budget < 0 {
		return nil, failure(nil, wire.StatusDeadlineExceeded, nil, "the time was up before it was sent")
	}
	var reply bytesMessage
	m := &Method{Name: op.String(), Fingerprint: op.Fingerprint(), Mode: schema.Unary, service: operationsDesc}
	request = request[:len(request):len(request)]
	p, failed := s.openOn(ctx, wire.ChannelOperations, m, m.Fingerprint, budget, bytesMessage(request), &reply, nil)
	if failed != nil {
		return nil, failed
	}
	if err := s.await(ctx, &p.sleep, p); err != nil {
		s.abandon(p, true)
		return nil, failure(m, StatusOf(err), nil, "given up by the caller")
	}
	if err := s.settle(p); err != nil {
		return nil, err
	}
	return reply, nil
}

// operationsDesc names the operations in errors.
var operationsDesc = &ServiceDesc{Name: "operation"}

// bytesMessage is a message of plain bytes.
type bytesMessage []byte

func (m bytesMessage) SizeCell() int                    { return len(m) }
func (m bytesMessage) EncodeCell(b []byte) (int, error) { return bulk.Copy(b, m), nil }
func (m *bytesMessage) DecodeCell(b []byte) error {
	*m = append((*m)[:0], b...)
	return nil
}

// operateJSON performs an operation; a nil s is any link.
func (c *Conn) operateJSON(ctx context.Context, s *session, op Operation, request, reply any) error {
	var q []byte
	var err error
	if request != nil {
		if q, err = json.Marshal(request); err != nil {
			return err
		}
	}
	if s == nil {
		if s, err = c.session(ctx, nil); err != nil {
			return err
		}
	}
	r, err := c.operateOn(ctx, s, op, q)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(r, reply); err != nil {
		return failure(nil, wire.StatusInternal, err, "the answer to %v can't be read", op)
	}
	return nil
}

// Ping returns nil when the server has answered.
func (c *Conn) Ping(ctx context.Context) error {
	_, err := c.Operate(ctx, OpPing, nil)
	return err
}

// Health returns the server's state.
func (c *Conn) Health(ctx context.Context) (h Health, err error) {
	err = c.operateJSON(ctx, nil, OpHealth, nil, &h)
	return h, err
}

// List returns the server's services.
func (c *Conn) List(ctx context.Context) (all []ServiceInfo, err error) {
	err = c.operateJSON(ctx, nil, OpList, nil, &all)
	return all, err
}

// Describe returns the canonical description of one of the server's services.
func (c *Conn) Describe(ctx context.Context, service string) (string, error) {
	text, err := c.Operate(ctx, OpDescribe, []byte(service))
	return string(text), err
}

// ServerStats returns the server's counters.
func (c *Conn) ServerStats(ctx context.Context) (s ServerStats, err error) {
	err = c.operateJSON(ctx, nil, OpStats, nil, &s)
	return s, err
}
