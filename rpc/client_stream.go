package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"

	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// clientStream is a call with streams on a caller-driven connection.
type clientStream struct {
	session *session
	pending *pending // ours until closed
	method  *Method
	header  wire.Header // of what this side sends, but for kind and flags
	ctx     context.Context
	in      inbox
	out     outflow

	answer  *buffer     // the reply, written by the poller before the call is done
	closing atomic.Bool // CloseSend was called
	over    atomic.Bool
	outcome error // why the call ended, once over
	closed  atomic.Bool

	sleepReceive, sleepSend bedside
	events                  *subscription // of topics: the whole of which this is a part
}

var _ Stream = (*clientStream)(nil)

// Stream implements [Caller].
func (c *Conn) Stream(ctx context.Context, m *Method, req Encoder) (Stream, error) {
	st, err := c.streamOnce(ctx, m, req)
	if c.unsent(err) {
		return c.streamOnce(ctx, m, req)
	}
	return st, err
}

// streamOnce opens a call with streams over the current link.
func (c *Conn) streamOnce(ctx context.Context, m *Method, req Encoder) (Stream, error) {
	switch m.Mode {
	case schema.ServerStream, schema.ClientStream, schema.BothStreams:
	default:
		return nil, failure(m, wire.StatusInvalidArgument, nil, "it has no streams")
	}
	budget := budgetOf(ctx, c.opts.Timeout)
	if budget < 0 {
		return nil, failure(m, wire.StatusDeadlineExceeded, nil, "the time was up before it was sent; not executed")
	}
	s, err := c.session(ctx, m)
	if err != nil {
		return nil, err
	}
	if err := c.ensureBound(ctx, s, m); err != nil {
		return nil, err
	}
	st := &clientStream{session: s, method: m, ctx: ctx}
	window := 0
	if m.Mode != schema.ClientStream {
		window = st.in.open(c.opts.Window, c.opts.StreamMemory)
	}
	p, failed := s.open(ctx, m, s.resolve(m), budget, req, nil, st)
	if failed != nil {
		return nil, failed
	}
	if window > 0 {
		if err := st.grant(window); err != nil {
			s.abandon(p, true)
			return nil, err
		}
	}
	return st, nil
}

// control sends a vesicle of this call. nil means that it is on its way.
func (st *clientStream) control(kind wire.Kind, flags wire.Flags, msg Encoder) error {
	h := st.header
	h.Kind, h.Flags = kind, flags
	st.session.sendMu.Lock()
	defer st.session.sendMu.Unlock()
	if err := st.session.send(st.ctx, st.method, &h, 0, noDeadline, msg); err != nil {
		return err
	}
	return nil
}

// creditMessage is the payload of a credit.
type creditMessage uint32

func (creditMessage) SizeCell() int { return creditSize }
func (c creditMessage) EncodeCell(b []byte) (int, error) {
	binary.LittleEndian.PutUint32(b, uint32(c))
	return creditSize, nil
}

func (st *clientStream) grant(n int) error {
	return st.control(wire.KindCredit, 0, creditMessage(n))
}

// Waiters of the two directions.
type (
	itemWaiter   clientStream
	creditWaiter clientStream
)

func (w *itemWaiter) ready() bool   { return w.in.ready() || w.over.Load() }
func (w *creditWaiter) ready() bool { return w.out.ready() || w.over.Load() }

// Send implements [Stream].
func (st *clientStream) Send(item Encoder) error {
	if st.closing.Load() {
		return failure(st.method, wire.StatusInvalidArgument, nil, "Send after CloseSend")
	}
	for {
		ok, err := st.out.acquire()
		if err != nil {
			return io.EOF
		}
		if ok {
			break
		}
		if err := st.session.await(st.ctx, &st.sleepSend, (*creditWaiter)(st)); err != nil {
			return st.giveUp(err)
		}
	}
	return st.control(wire.KindStreamItem, 0, item)
}

// CloseSend implements [Stream].
func (st *clientStream) CloseSend() error {
	// Reply, of the goroutine that receives, comes here too.
	if st.method.Mode == schema.ServerStream || st.closing.Swap(true) || st.over.Load() {
		return nil
	}
	return st.control(wire.KindStreamItem, wire.FlagEnd, nil)
}

// Receive implements [Stream].
func (st *clientStream) Receive(item Decoder) error {
	for {
		b, grant, err := st.in.take()
		if err != nil {
			return err
		}
		if grant > 0 {
			if err := st.grant(grant); err != nil && st.session.dead.Load() == nil {
				b.free()
				return err
			} // a dead link ends the items with a better reason
		}
		if b != nil {
			err := item.DecodeCell(b.b)
			b.free()
			return err
		}
		if err := st.session.await(st.ctx, &st.sleepReceive, (*itemWaiter)(st)); err != nil {
			return st.giveUp(err)
		}
	}
}

// Reply implements [Stream].
func (st *clientStream) Reply(reply Decoder) error {
	defer st.Close()
	if err := st.CloseSend(); err != nil && !st.over.Load() {
		return err
	}
	for {
		err := st.Receive(discard{})
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if st.outcome != nil {
		return st.outcome
	}
	if err := reply.DecodeCell(st.answer.b); err != nil {
		return failure(st.method, wire.StatusInternal, err, "the reply can't be read")
	}
	return nil
}

// discard is the item that nobody wants.
type discard struct{}

func (discard) DecodeCell([]byte) error { return nil }

// giveUp ends the call because its context has.
func (st *clientStream) giveUp(cause error) error {
	err := failure(st.method, StatusOf(cause), nil, "given up by the caller")
	_ = st.Close()
	return err
}

// Close implements [Stream].
func (st *clientStream) Close() error {
	if st.closed.Swap(true) {
		return nil
	}
	// No proper end, unless that has come: what is still waiting for items or
	// the reply must not take it for one.
	st.in.end(failure(st.method, wire.StatusCanceled, nil, "the stream was closed before the call had ended"))
	st.out.end(io.EOF)
	st.sleepReceive.wake()
	st.sleepSend.wake()
	if p := st.pending; p.ready() {
		_ = st.session.settle(p)
	} else {
		st.session.abandon(p, true)
	}
	return nil
}

// replied keeps the reply. It runs in the poller, before ended.
func (st *clientStream) replied(payload []byte) {
	st.answer = newBuffer(len(payload))
	copy(st.answer.b, payload)
}

// ended tells both directions that the call is over. It runs in the poller.
func (st *clientStream) ended(err error) {
	if err == nil {
		st.in.end(nil)
		st.out.end(io.EOF)
	} else {
		st.outcome = err
		st.in.end(err)
		st.out.end(err)
	}
	st.over.Store(true)
}

// streamed acts on an item, an event or credit. It runs in the poller, which
// has seized the slot.
func (s *session) streamed(p *pending, h *wire.Header, payload []byte) {
	st := p.stream
	switch h.Kind {
	case wire.KindCredit:
		if len(payload) >= creditSize {
			st.out.add(binary.LittleEndian.Uint32(payload))
		}
	default:
		if st.events != nil && h.Kind == wire.KindStreamItem {
			st.events.notice(payload)
			return
		}
		if !st.in.put(payload) {
			p.err = failure(p.method, wire.StatusInternal, nil, "the server sent more items than it was granted")
			st.ended(p.err)
		}
	}
}
