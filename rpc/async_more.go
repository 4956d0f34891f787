package rpc

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/bulk"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// SendLarge makes a call whose request may be longer than what the link takes
// at once. It copies the request, and sends it in pieces if it must. Errors:
// those of the message, and of Send.
func (c *AsyncConn) SendLarge(b *Bound, req Encoder, complete func(*Completion), done any, tag uint64) error {
	size, prefix := req.SizeCell(), 0
	if b.budget != 0 {
		prefix = wire.DeadlineSize
	}
	body := newBuffer(prefix + size)
	if err := fill(body.b, prefix, time.Duration(b.budget), req); err != nil {
		body.free()
		return failure(b.method, wire.StatusInvalidArgument, err, "the message can't be encoded")
	}
	s := c.open(b, b.budget, complete, done, tag)
	if s == nil {
		body.free()
		return c.tooMany(b)
	}
	var v outgoing
	v.body = body
	setHeader(&v.header, wire.KindRequest, 0, b.fingerprint, s.id)
	if prefix != 0 {
		v.header.Flags = wire.FlagDeadline
	}
	c.outbox.push(v, nil)
	return nil
}

// SendOneWay sends the request begun, of which n bytes are in use, without
// waiting for anything.
func (c *AsyncConn) SendOneWay(n int) error {
	b, place := c.begun, c.place
	if b == nil || b.method.Mode != schema.OneWay {
		c.begun = nil
		return fmt.Errorf("%w: SendOneWay without Begin of a one-way method", ErrArgument)
	}
	c.begun = nil
	var flags wire.Flags
	if c.budget != 0 {
		flags = wire.FlagDeadline
		n += wire.DeadlineSize
	}
	place.Payload = place.Payload[:n]
	setHeader(&place.Header, wire.KindEvent, flags, b.fingerprint, 0)
	c.out.put()
	if c.at+1 >= len(c.batch) {
		c.out.end()
	}
	return nil
}

// asyncSubscription is a topic on an engine-driven connection.
type asyncSubscription struct {
	window int
	taken  int // events since credit was granted last
	lost   uint64
}

// Subscribe receives a topic's events on the engine's thread: event is run for
// each, with the event in Reply, valid until it returns, and in the end once
// with Err. Its Tag is how many events were lost so far. Errors: those of
// Begin and Send. The result is what Unsubscribe takes.
func (c *AsyncConn) Subscribe(m *Method, o SubscribeOptions, event func(*Completion)) (id uint32, err error) {
	request, err := o.message()
	if err != nil || m.Mode != schema.Topic {
		return 0, failure(m, wire.StatusInvalidArgument, err, "not subscribed")
	}
	b := c.Bind(m)
	budget := b.budget
	b.budget = 0 // a subscription has no deadline
	place, err := c.Begin(b, subscribeSize)
	b.budget = budget
	if err != nil {
		return 0, err
	}
	_, _ = request.EncodeCell(place)
	if err := c.Send(subscribeSize, event, nil, 0); err != nil {
		return 0, err
	}
	c.subs[c.lastID] = &asyncSubscription{window: int(request.credit)}
	return c.lastID, nil
}

// Unsubscribe ends a subscription; its function is run no more.
func (c *AsyncConn) Unsubscribe(id uint32) {
	s := &c.slots[id&c.mask]
	if c.subs[id] == nil || s.id != id || s.bound == nil {
		return
	}
	c.control(s, wire.KindCancel, nil)
	delete(c.subs, id)
	c.giveSlot(s) // events that are under way find nobody
}

// control sends a vesicle of a call, if there is room.
func (c *AsyncConn) control(s *asyncSlot, kind wire.Kind, payload []byte) bool {
	place, err := c.out.take(len(payload), 1)
	if err != nil {
		return false
	}
	bulk.Copy(place.Payload, payload)
	setHeader(&place.Header, kind, 0, s.bound.fingerprint, s.id)
	c.out.put()
	if c.at+1 >= len(c.batch) {
		c.out.end()
	}
	return true
}

// event takes an event or a notice of lost ones.
func (c *AsyncConn) event(s *asyncSlot, kind wire.Kind, payload []byte) {
	sub := c.subs[s.id]
	switch {
	case sub == nil:
		c.late++
		return
	case kind == wire.KindStreamItem:
		if len(payload) >= noticeSize {
			sub.lost = binary.LittleEndian.Uint64(payload)
		}
		return
	}
	if sub.taken++; 2*sub.taken >= sub.window {
		var credit [creditSize]byte
		binary.LittleEndian.PutUint32(credit[:], uint32(sub.taken))
		if c.control(s, wire.KindCredit, credit[:]) { // otherwise with the next event
			sub.taken = 0
		}
	}
	r := &c.result
	r.Reply, r.Err, r.Tag, r.done = payload, nil, sub.lost, s.done
	s.complete(r)
}

// Operate performs one of the server's built-in operations: done is run when
// it has ended. Errors: those of Begin and Send.
func (c *AsyncConn) Operate(op Operation, request []byte, done func(*Completion)) error {
	b := &Bound{
		method:      &Method{Name: op.String(), Fingerprint: op.Fingerprint(), Mode: schema.Unary, service: operationsDesc},
		fingerprint: op.Fingerprint(), budget: int64(c.opts.Timeout), channel: wire.ChannelOperations,
	}
	place, err := c.Begin(b, len(request))
	if err != nil {
		return err
	}
	bulk.Copy(place, request)
	return c.Send(len(request), done, nil, 0)
}

// BindService asks the server what it does about each method of a service, and
// has this connection send the fingerprints that it serves; see [Conn.Bind].
// done is run on the engine's thread.
func (c *AsyncConn) BindService(d *ServiceDesc, done func([]MethodBinding, error)) error {
	q, err := json.Marshal(bindRequest(d))
	if err != nil {
		return err
	}
	return c.Operate(OpBind, q, func(r *Completion) {
		if r.Err != nil {
			done(nil, r.Err)
			return
		}
		var reply BindReply
		if err := json.Unmarshal(r.Reply, &reply); err != nil {
			done(nil, failure(nil, wire.StatusInternal, err, "the answer to bind can't be read"))
			return
		}
		all, broken, err := judgeAll(d, &reply)
		if err != nil {
			done(nil, err)
			return
		}
		for i := range all {
			if all[i].Use != 0 {
				c.Bind(all[i].Method).fingerprint = all[i].Use
			}
		}
		if !broken {
			done(all, firstError(all))
			return
		}
		if err := c.Operate(OpDescribe, []byte(d.Name), func(r *Completion) {
			explain(all, string(r.Reply))
			done(all, firstError(all))
		}); err != nil {
			explain(all, "")
			done(all, firstError(all))
		}
	})
}

func firstError(all []MethodBinding) error {
	for i := range all {
		if all[i].Err != nil {
			return all[i].Err
		}
	}
	return nil
}
