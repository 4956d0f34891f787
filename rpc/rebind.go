package rpc

import (
	"context"
	"maps"

	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// bindings is what one link's server has said about forms of methods. It is
// replaced as a whole. A new link begins without: its server may be another.
type bindings struct {
	use      map[uint64]uint64 // fingerprints to send in place of others
	services map[*ServiceDesc]bool
}

// resolve returns the fingerprint to send for a method.
func (s *session) resolve(m *Method) uint64 {
	if b := s.bindings.Load(); b != nil {
		if use, ok := b.use[m.Fingerprint]; ok {
			return use
		}
	}
	return m.Fingerprint
}

// learn keeps what the server said about the methods of d; nothing, if it may
// not be asked.
func (s *session) learn(d *ServiceDesc, all []MethodBinding) {
	for {
		old := s.bindings.Load()
		b := &bindings{use: make(map[uint64]uint64), services: map[*ServiceDesc]bool{}}
		if old != nil {
			maps.Copy(b.use, old.use)
			maps.Copy(b.services, old.services)
		}
		b.services[d] = firstError(all) == nil // else who asks again hears why not
		for i := range all {
			own := all[i].Method.Fingerprint
			if delete(b.use, own); all[i].Use != 0 && all[i].Use != own {
				b.use[own] = all[i].Use
			}
		}
		if s.bindings.CompareAndSwap(old, b) {
			return
		}
	}
}

// ensureBound asks about a method's service, once for each link, before
// something is sent that can't be sent again when the server does not know it:
// a stream, a subscription, and a one-way request, whose refusal nobody would
// hear of. The error is why the method can't be called.
func (c *Conn) ensureBound(ctx context.Context, s *session, m *Method) error {
	if b := s.bindings.Load(); m.service == nil || b != nil && b.services[m.service] {
		return nil
	}
	all, err := c.bindOn(ctx, s, m.service)
	if err == nil {
		return all[m.index].Err
	}
	if e, ok := err.(*Error); ok && e.Remote {
		s.learn(m.service, nil) // it doesn't say, so it's tried
		return nil
	}
	status := StatusOf(err)
	if status == wire.StatusPeerGone {
		status = wire.StatusUnavailable // only the question was under way
	}
	return failure(m, status, err, "not sent: the server could not be asked whether it serves this form")
}

// rebind binds a method's service after the server refused it as unknown. nil
// means that the call may be made again: nothing was executed, and there is
// another fingerprint that the server serves, or another server.
func (c *Conn) rebind(ctx context.Context, m *Method, refused *Error) error {
	if m.service == nil {
		return refused
	}
	s, err := c.session(ctx, m)
	if err != nil {
		return err
	}
	all, err := c.bindOn(ctx, s, m.service)
	if err != nil {
		if e, ok := err.(*Error); ok && e.Remote {
			return refused // it doesn't say, so there is no more to know
		}
		if StatusOf(err) == wire.StatusPeerGone {
			return failure(m, wire.StatusUnavailable, err, "the link was lost before it was sent again")
		}
		return err
	}
	b := &all[m.index]
	if b.Err == nil && b.Use == refused.sent && !refused.unserved && (s.life == refused.life || !m.Idempotent) {
		// The server serves it: this was the handler's own answer.
		return refused
	}
	return b.Err
}

// refusedAsUnknown returns the failure if a server knew nothing of a method's
// fingerprint, as far as this can be told.
func refusedAsUnknown(m *Method, err error) *Error {
	e, ok := err.(*Error) // this package's own, unwrapped
	if ok && e.Remote && e.Status == wire.StatusUnimplemented && m.Mode == schema.Unary {
		return e
	}
	return nil
}
