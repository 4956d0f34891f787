package rpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// BlockingFunc serves a method of any mode on a goroutine of the server's
// pool. ctx ends with the call: at its deadline, when the caller cancels it or
// is gone. The reply is what [Exchange.Reply] was given, or an empty message;
// an error is what the caller gets instead.
type BlockingFunc func(ctx context.Context, x *Exchange) error

// Exchange is one call as a blocking handler sees it. Send belongs to one
// goroutine at a time and Receive to one, perhaps another. It must not be used
// after the handler has returned.
type Exchange struct {
	link    *serverLink
	served  *served
	header  wire.Header // of the request
	request *buffer
	reply   *buffer
	ctx     callContext
	due     int64  // on the engine's clock; noDeadline if none
	began   uint64 // sched.Ticks

	in  inbox   // items from the client
	out outflow // credit for items to the client

	// answered: the caller has its answer or needs none. Swapped by whoever
	// answers, so that it happens once.
	answered atomic.Bool
}

// Method returns the method being called.
func (x *Exchange) Method() *Method { return x.served.method }

// Fingerprint returns the fingerprint that the caller used: the method's own
// or that of one of its ancestors.
func (x *Exchange) Fingerprint() uint64 { return x.header.Fingerprint }

// RequestBlock is [Call.RequestBlock].
func (x *Exchange) RequestBlock() int { return x.served.requestBlock }

// Peer says who calls, as far as the link can prove it.
func (x *Exchange) Peer() link.Peer { return x.link.info.Peer }

// Request returns the request's bytes, a copy that is the handler's until it
// returns.
func (x *Exchange) Request() []byte { return x.request.b }

// Reply sets the reply, which travels when the handler returns nil. Errors:
// those of the message.
func (x *Exchange) Reply(m Encoder) error {
	b, err := encode(m)
	if err != nil {
		return err
	}
	x.reply.free()
	x.reply = b
	return nil
}

// Send sends one item of the stream to the client, waiting for its credit and
// for room. Errors: those of the message, or why the call is over.
func (x *Exchange) Send(item Encoder) error {
	if x.out.wake == nil {
		return Errorf(wire.StatusInternal, "%v sends no items", x.served.method)
	}
	for {
		ok, err := x.out.acquire()
		if err != nil {
			return err
		}
		if ok {
			break
		}
		<-x.out.wake // the end of the call wakes too
	}
	b, err := encode(item)
	if err != nil {
		return err
	}
	if !x.link.outbox.push(outgoing{header: answerHeader(&x.header, wire.KindStreamItem), body: b}, x.ctx.Done()) {
		return x.ctx.Err()
	}
	return nil
}

// Receive waits for the client's next item. io.EOF means that no more come;
// another error is why the call is over, or the message's own.
func (x *Exchange) Receive(item Decoder) error {
	if x.in.wake == nil {
		return Errorf(wire.StatusInternal, "%v receives no items", x.served.method)
	}
	for {
		b, grant, err := x.in.take()
		if err != nil {
			return err
		}
		if grant > 0 {
			x.grant(grant)
		}
		if b != nil {
			defer b.free()
			return item.DecodeCell(b.b)
		}
		<-x.in.wake
	}
}

// grant gives the client credit.
func (x *Exchange) grant(n int) {
	b := newBuffer(creditSize)
	binary.LittleEndian.PutUint32(b.b, uint32(n))
	x.link.outbox.push(outgoing{header: answerHeader(&x.header, wire.KindCredit), body: b}, nil)
}

// creditSize is the payload of a vesicle of wire.KindCredit: how many more
// items the peer may send, as u32.
const creditSize = 4

// run is the worker's part: handler, answer, goodbye.
func (x *Exchange) run() {
	err := x.handle()
	x.answer(err)
	if c := &x.link.server.counts; c.writer != nil {
		c.took(x.served, time.Duration(sched.TicksToNanos(sched.TicksRelaxed()-x.began)))
	}
	x.request.free()
	x.request = nil
	x.link.server.flying.Add(-1)
	post(x.link.port.Engine(), x.leave)
}

func (x *Exchange) handle() (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		// Goexit comes here too, with nothing to recover; the caller must
		// hear of it all the same.
		x.link.server.opts.Logger.Error("panic in a handler, contained", "server", x.link.server.opts.Name,
			"method", x.served.method.String(), "panic", fmt.Sprint(recover()), "stack", string(debug.Stack()))
		err = errHandlerFailed
	}()
	if err = x.ctx.Err(); err == nil { // not if it ended while it was queued
		err = x.served.blocking(&x.ctx, x)
	}
	returned = true
	return err
}

// answer sends the reply or the error, unless the call has been answered.
func (x *Exchange) answer(err error) {
	x.ctx.end(context.Canceled)
	if err != nil {
		x.link.server.counts.fail()
	}
	if x.answered.Swap(true) || x.served.method.Mode == schema.OneWay {
		x.reply.free()
		x.reply = nil
		return
	}
	v := outgoing{header: answerHeader(&x.header, wire.KindReply), body: x.reply}
	if err != nil {
		x.reply.free()
		p := asPayload(err)
		fitError(&p, x.link.info.MaxPayload)
		b := newBuffer(errorHead + len(p.Message) + len(p.Details))
		p.Append(b.b[:0])
		v = outgoing{header: answerHeader(&x.header, wire.KindError), body: b}
	}
	x.reply = nil
	x.link.outbox.push(v, nil)
}

// leave runs on the thread when the worker is done.
func (x *Exchange) leave() {
	x.in.end(context.Canceled) // frees what was not received
	s := x.link
	if s.active[x.header.Correlation] == x {
		delete(s.active, x.header.Correlation)
	}
	s.port.Unhold()
}

// end ends the call from the thread: the handler's context, and whatever it
// waits for.
func (x *Exchange) end(why error) {
	x.answered.Store(true)
	x.ctx.end(why)
	x.in.end(why)
	x.out.end(why)
}

// callContext is the context of a blocking handler. It needs no timer: the
// engine ends it.
type callContext struct {
	deadline time.Time // zero if none
	done     chan struct{}
	trace    string // the caller's traceparent
	mu       sync.Mutex
	err      error
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} { return c.done }

// Err implements context.Context.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	if _, ok := key.(traceparentKey); ok && c.trace != "" {
		return c.trace
	}
	return nil
}

// end ends the context, once.
func (c *callContext) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = why
		close(c.done)
	}
}
