package policy

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/cell-runtime/cell/rpc"
)

// hold keeps a place among the calls under way until a stream or subscription
// ends, in whichever way it does.
type hold struct {
	plan *plan
	once sync.Once
	stop func() bool
}

func (h *hold) begin(ctx context.Context, p *plan) {
	h.plan = p
	h.stop = context.AfterFunc(ctx, h.free)
}

func (h *hold) free() { h.once.Do(func() { h.plan.leaveConcurrency(len(h.plan.concurrency)) }) }

func (h *hold) end() {
	h.stop()
	h.free()
}

type heldStream struct {
	rpc.Stream
	hold
}

func holdStream(ctx context.Context, s rpc.Stream, p *plan) rpc.Stream {
	h := &heldStream{Stream: s}
	h.begin(ctx, p)
	return h
}

// Receive implements [rpc.Stream].
func (h *heldStream) Receive(item rpc.Decoder) error {
	err := h.Stream.Receive(item)
	if err != nil && !errors.Is(err, io.EOF) {
		h.end()
	}
	return err
}

// Reply implements [rpc.Stream].
func (h *heldStream) Reply(reply rpc.Decoder) error {
	defer h.end()
	return h.Stream.Reply(reply)
}

// Close implements [rpc.Stream].
func (h *heldStream) Close() error {
	defer h.end()
	return h.Stream.Close()
}

type heldSubscription struct {
	rpc.Subscription
	hold
}

func holdSubscription(ctx context.Context, s rpc.Subscription, p *plan) rpc.Subscription {
	h := &heldSubscription{Subscription: s}
	h.begin(ctx, p)
	return h
}

// Receive implements [rpc.Subscription].
func (h *heldSubscription) Receive(event rpc.Decoder) error {
	err := h.Subscription.Receive(event)
	if err != nil {
		h.end()
	}
	return err
}

// Close implements [rpc.Subscription].
func (h *heldSubscription) Close() error {
	defer h.end()
	return h.Subscription.Close()
}
