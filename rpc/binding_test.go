package rpc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// Three versions of one service: the second appends a field, the third makes
// another one wider.
const (
	pricesOne = `cell 1

struct Order {
	Price int32
}

struct Fill {
	Price int32
}

service Prices {
	call Place(Order) Fill
}
`
	pricesTwo = `cell 1

struct Order {
	Price int32
	Size uint32
}

struct Fill {
	Price int32
	Size uint32
}

service Prices {
	call Place(Order) Fill
}
`
	pricesThree = `cell 1

struct Order {
	Price int64
}

struct Fill {
	Price int32
}

service Prices {
	call Place(Order) Fill
}
`
)

// describe makes a description of the only service in text, whose methods have
// the forms in olds as their ancestors.
func describe(t *testing.T, text string, olds ...string) *rpc.ServiceDesc {
	t.Helper()
	s, err := schema.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	service := s.Services[0]
	d := rpc.ServiceDesc{Name: service.Name, Digest: schema.Digest(service), Text: text}
	for i := range service.Methods {
		m := &service.Methods[i]
		form, err := schema.Form(service, m)
		if err != nil {
			t.Fatal(err)
		}
		method := rpc.Method{
			Name: m.Name, Mode: m.Mode, Fingerprint: form.Fingerprint,
			Request: rpc.Shape{Block: form.Request}, Reply: rpc.Shape{Block: form.Reply},
		}
		for _, old := range olds {
			method.Ancestors = append(method.Ancestors, schema.Ancestor{
				Fingerprint: describe(t, old).Methods[i].Fingerprint,
				Request:     describe(t, old).Methods[i].Request.Block,
				Reply:       describe(t, old).Methods[i].Reply.Block,
			})
		}
		d.Methods = append(d.Methods, method)
	}
	return rpc.Describe(d)
}

// raw is a message of plain bytes.
type raw []byte

func (m raw) SizeCell() int                    { return len(m) }
func (m raw) EncodeCell(b []byte) (int, error) { return copy(b, m), nil }
func (m *raw) DecodeCell(b []byte) error       { *m = append(raw(nil), b...); return nil }

// order is a message with that price in the form of d.
func order(d *rpc.ServiceDesc, price uint32) raw {
	m := make(raw, d.Methods[0].Request.Block)
	binary.LittleEndian.PutUint32(m, price)
	return m
}

// registerPrices serves d: the reply has the request's first field and ends
// with a number that tells servers apart.
func registerPrices(t *testing.T, s *rpc.Server, d *rpc.ServiceDesc, number byte) {
	t.Helper()
	err := s.Register(d, rpc.Inline(func(c *rpc.Call, req, reply []byte) (int, error) {
		if len(req) < c.RequestBlock() {
			return 0, rpc.Errorf(wire.StatusInvalidArgument, "%d bytes of %d", len(req), c.RequestBlock())
		}
		clear(reply)
		copy(reply[:3], req)
		reply[3] = number
		return d.Methods[0].Reply.Block, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
}

func TestVersions(t *testing.T) {
	one, two, three := describe(t, pricesOne), describe(t, pricesTwo, pricesOne), describe(t, pricesThree)
	for _, c := range []struct {
		name    string
		client  *rpc.ServiceDesc
		servers []*rpc.ServiceDesc
		outcome rpc.Binding
		answers byte // the index of the server that must answer
	}{
		{"same", two, []*rpc.ServiceDesc{two}, rpc.BindSame, 0},
		{"old client, new server", one, []*rpc.ServiceDesc{two}, rpc.BindNewer, 0},
		{"new client, old server", two, []*rpc.ServiceDesc{one}, rpc.BindOlder, 0},
		{"broken change", three, []*rpc.ServiceDesc{two}, rpc.BindBroken, 0},
		{"broken change, other way round", two, []*rpc.ServiceDesc{three}, rpc.BindBroken, 0},
		{"side by side, old client", one, []*rpc.ServiceDesc{two, three}, rpc.BindNewer, 0},
		{"side by side, new client", two, []*rpc.ServiceDesc{two, three}, rpc.BindSame, 0},
		{"side by side, broken client", three, []*rpc.ServiceDesc{two, three}, rpc.BindSame, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, &rpc.ServerOptions{Operations: func(link.Peer, rpc.Operation) error { return nil }})
			for i, d := range c.servers {
				registerPrices(t, s, d, byte(i))
			}
			// Once by asking first, once by the way of the first call.
			for _, asks := range []bool{true, false} {
				conn := connect(t, s, openPipe, nil)
				if asks {
					all, err := conn.Bind(soon(t), c.client)
					if len(all) != 1 || all[0].Outcome != c.outcome || (err != nil) != (c.outcome == rpc.BindBroken) {
						t.Fatalf("bind: %+v, %v; want %v", all, err, c.outcome)
					}
				}
				for range 2 {
					var reply raw
					err := conn.Call(soon(t), &c.client.Methods[0], order(c.client, 7), &reply)
					if c.outcome == rpc.BindBroken {
						checkMismatch(t, err, c.client, c.servers[0])
						continue
					}
					if err != nil || len(reply) < 4 || reply[0] != 7 || reply[3] != c.answers {
						t.Fatalf("reply %v, %v", reply, err)
					}
				}
			}
		})
	}
}

// checkMismatch: the error names both fingerprints and what differs.
func checkMismatch(t *testing.T, err error, client, server *rpc.ServiceDesc) {
	t.Helper()
	if !errors.Is(err, wire.StatusFingerprint) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{
		schema.FormatFingerprint(client.Methods[0].Fingerprint),
		schema.FormatFingerprint(server.Methods[0].Fingerprint),
		"Order.Price",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
}

func TestRegisterRefuses(t *testing.T) {
	one, two := describe(t, pricesOne), describe(t, pricesTwo, pricesOne)
	inline := rpc.Inline(func(*rpc.Call, []byte, []byte) (int, error) { return 0, nil })
	blocking := rpc.Blocking(func(context.Context, *rpc.Exchange) error { return nil })
	for _, c := range []struct {
		name     string
		d        *rpc.ServiceDesc
		handlers []rpc.Handler
		want     error
	}{
		{"no description", nil, nil, rpc.ErrArgument},
		{"no handler", two, nil, rpc.ErrArgument},
		{"an empty handler", two, []rpc.Handler{{}}, rpc.ErrArgument},
		{"too many handlers", two, []rpc.Handler{inline, blocking}, rpc.ErrArgument},
		{"an ancestor that is served already", two, []rpc.Handler{inline}, rpc.ErrRegistered},
		{"not described", &rpc.ServiceDesc{Methods: []rpc.Method{{Name: "X", Mode: schema.Unary, Fingerprint: 1}}}, []rpc.Handler{inline}, rpc.ErrArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, nil)
			if err := s.Register(one, blocking); err != nil {
				t.Fatal(err)
			}
			if err := s.Register(c.d, c.handlers...); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if len(s.Services()) != 1 {
				t.Error("a refused service is listed")
			}
		})
	}
}
