package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
)

// This file gives generated code its types. T, R and the like are generated
// message structs: T implements Encoder and *T implements Decoder.

// Sender sends the items of a stream; see [Exchange.Send] and [Stream].
type Sender[T any] interface {
	// Send sends one item, waiting for the receiver's credit.
	Send(item T) error
}

// Receiver receives the items of a stream.
type Receiver[T any] interface {
	// Receive waits for the next item. io.EOF means that no more come.
	Receive() (T, error)
}

// Calls makes the unary calls of one method without allocating: messages that
// are passed through an interface live on the heap, so they are kept for the
// next call. The zero value is ready for use.
type Calls[Q, R any] struct{ pool sync.Pool }

type callMessages[Q, R any] struct {
	req   Q
	reply R
	enc   Encoder // &req
	dec   Decoder // &reply
}

// Call makes one call of m through c.
func (p *Calls[Q, R]) Call(ctx context.Context, c Caller, m *Method, req Q) (R, error) {
	x, ok := p.pool.Get().(*callMessages[Q, R])
	if !ok {
		x = new(callMessages[Q, R])
		x.enc, x.dec = encoderOf(&x.req), decoderOf(&x.reply)
	}
	x.req = req
	err := c.Call(ctx, m, x.enc, x.dec)
	var reply, none R
	if err == nil {
		reply = x.reply
	}
	var noReq Q
	x.req, x.reply = noReq, none // keeps nothing of the user's alive
	p.pool.Put(x)
	return reply, err
}

// Incoming is the client's side of a server stream: items of T, then a reply
// of R. It belongs to one goroutine at a time, but for Close.
type Incoming[T, R any] struct {
	s    Stream
	item T
	dec  Decoder
}

// NewIncoming gives a stream its types.
func NewIncoming[T, R any](s Stream) *Incoming[T, R] {
	in := &Incoming[T, R]{s: s}
	in.dec = decoderOf(&in.item)
	return in
}

// Receive waits for the next item. io.EOF means that there are no more: call
// Reply.
func (in *Incoming[T, R]) Receive() (T, error) { return receive(in.s, in.dec, &in.item) }

// All yields the items until there are no more, or until an error, which comes
// with a zero item.
func (in *Incoming[T, R]) All() iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			item, err := in.Receive()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// Reply waits for the reply, dropping items that were not received, and ends
// the call.
func (in *Incoming[T, R]) Reply() (R, error) { return replyOf[R](in.s) }

// Close ends the call, cancelling it if it has not ended.
func (in *Incoming[T, R]) Close() error { return in.s.Close() }

// Outgoing is the client's side of a client stream: it sends items of T and
// ends with a reply of R. It belongs to one goroutine at a time, but for
// Close.
type Outgoing[T, R any] struct {
	s    Stream
	item T
	enc  Encoder
}

// NewOutgoing gives a stream its types.
func NewOutgoing[T, R any](s Stream) *Outgoing[T, R] {
	out := &Outgoing[T, R]{s: s}
	out.enc = encoderOf(&out.item)
	return out
}

// Send sends one item, waiting for the server's credit. io.EOF means that the
// call has ended meanwhile: Reply says how.
func (out *Outgoing[T, R]) Send(item T) error { return send(out.s.Send, out.enc, &out.item, item) }

// Reply tells the server that no item follows, waits for the reply and ends
// the call.
func (out *Outgoing[T, R]) Reply() (R, error) { return replyOf[R](out.s) }

// Close ends the call, cancelling it if it has not ended.
func (out *Outgoing[T, R]) Close() error { return out.s.Close() }

// Duplex is the client's side of a call with streams both ways: it sends items
// of A, receives items of B and ends with a reply of R. Sending belongs to one
// goroutine at a time and receiving to one, perhaps another.
type Duplex[A, B, R any] struct {
	out Outgoing[A, R]
	in  Incoming[B, R]
}

// NewDuplex gives a stream its types.
func NewDuplex[A, B, R any](s Stream) *Duplex[A, B, R] {
	d := &Duplex[A, B, R]{out: Outgoing[A, R]{s: s}, in: Incoming[B, R]{s: s}}
	d.out.enc, d.in.dec = encoderOf(&d.out.item), decoderOf(&d.in.item)
	return d
}

// Send is [Outgoing.Send].
func (d *Duplex[A, B, R]) Send(item A) error { return d.out.Send(item) }

// CloseSend tells the server that no item follows.
func (d *Duplex[A, B, R]) CloseSend() error { return d.out.s.CloseSend() }

// Receive is [Incoming.Receive].
func (d *Duplex[A, B, R]) Receive() (B, error) { return d.in.Receive() }

// All is [Incoming.All].
func (d *Duplex[A, B, R]) All() iter.Seq2[B, error] { return d.in.All() }

// Reply is [Incoming.Reply]; it implies CloseSend.
func (d *Duplex[A, B, R]) Reply() (R, error) { return d.in.Reply() }

// Close ends the call, cancelling it if it has not ended.
func (d *Duplex[A, B, R]) Close() error { return d.out.s.Close() }

// Events is a subscription to events of T.
type Events[T any] struct {
	s    Subscription
	item T
	dec  Decoder
}

// NewEvents gives a subscription its type.
func NewEvents[T any](s Subscription) *Events[T] {
	e := &Events[T]{s: s}
	e.dec = decoderOf(&e.item)
	return e
}

// Receive waits for the next event. Its errors end the subscription.
func (e *Events[T]) Receive() (T, error) { return receive(e.s, e.dec, &e.item) }

// Lost returns how many events the publisher dropped because this subscriber
// was too slow, as far as it has told.
func (e *Events[T]) Lost() uint64 { return e.s.Lost() }

// Close ends the subscription.
func (e *Events[T]) Close() error { return e.s.Close() }

// NewSender gives a blocking handler its stream of items to the client.
func NewSender[T any](x *Exchange) Sender[T] {
	s := &exchangeSender[T]{x: x}
	s.enc = encoderOf(&s.item)
	return s
}

// NewReceiver gives a blocking handler its stream of items from the client.
func NewReceiver[T any](x *Exchange) Receiver[T] {
	r := &exchangeReceiver[T]{x: x}
	r.dec = decoderOf(&r.item)
	return r
}

type exchangeSender[T any] struct {
	x    *Exchange
	item T
	enc  Encoder
}

func (s *exchangeSender[T]) Send(item T) error { return send(s.x.Send, s.enc, &s.item, item) }

type exchangeReceiver[T any] struct {
	x    *Exchange
	item T
	dec  Decoder
}

func (r *exchangeReceiver[T]) Receive() (T, error) { return receive(r.x, r.dec, &r.item) }

func send[T any](to func(Encoder) error, enc Encoder, place *T, item T) error {
	*place = item
	err := to(enc)
	var none T
	*place = none
	return err
}

func receive[T any](from interface{ Receive(Decoder) error }, dec Decoder, place *T) (T, error) {
	err := from.Receive(dec)
	item := *place
	var none T
	*place = none
	if err != nil {
		return none, err
	}
	return item, nil
}

func replyOf[R any](s Stream) (R, error) {
	var reply R
	err := s.Reply(decoderOf(&reply))
	if err != nil {
		var none R
		return none, err
	}
	return reply, nil
}

// encoderOf returns the message at p, or one that says what is wrong with it.
func encoderOf(p any) Encoder {
	if e, ok := p.(Encoder); ok {
		return e
	}
	return notGenerated{p}
}

func decoderOf(p any) Decoder {
	if d, ok := p.(Decoder); ok {
		return d
	}
	return notGenerated{p}
}

// notGenerated stands for a type that was given to this package and is no
// message.
type notGenerated struct{ p any }

func (n notGenerated) SizeCell() int                  { return 0 }
func (n notGenerated) EncodeCell([]byte) (int, error) { return 0, n.err() }
func (n notGenerated) DecodeCell([]byte) error        { return n.err() }
func (n notGenerated) err() error {
	return fmt.Errorf("%w: %T has no generated methods; run go generate", ErrArgument, n.p)
}
