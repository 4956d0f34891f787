package balance

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/cell-runtime/cell/rpc"
)

// counted is a stream or subscription among its instance's calls under way.
type counted struct {
	balancer *Balancer
	instance *instance
	once     sync.Once
	stop     func() bool
}

func (c *counted) begin(ctx context.Context, b *Balancer, i *instance) {
	c.balancer, c.instance = b, i
	i.outstanding.Add(1)
	c.stop = context.AfterFunc(ctx, func() { c.once.Do(c.uncount) })
}

func (c *counted) uncount() { c.instance.outstanding.Add(-1) }

// end notes the end, and why it came if that is the instance's fault.
func (c *counted) end(err error) {
	c.stop()
	c.once.Do(func() {
		c.uncount()
		if err != nil {
			c.balancer.failed(c.instance, err)
		}
	})
}

type countedStream struct {
	rpc.Stream
	counted
}

func countStream(ctx context.Context, b *Balancer, i *instance, s rpc.Stream) rpc.Stream {
	c := &countedStream{Stream: s}
	c.begin(ctx, b, i)
	return c
}

// Receive implements [rpc.Stream].
func (c *countedStream) Receive(item rpc.Decoder) error {
	err := c.Stream.Receive(item)
	if err != nil && !errors.Is(err, io.EOF) {
		c.end(err)
	}
	return err
}

// Reply implements [rpc.Stream].
func (c *countedStream) Reply(reply rpc.Decoder) error {
	err := c.Stream.Reply(reply)
	c.end(err)
	return err
}

// Close implements [rpc.Stream].
func (c *countedStream) Close() error {
	defer c.end(nil)
	return c.Stream.Close()
}

type countedSubscription struct {
	rpc.Subscription
	counted
}

func countSubscription(ctx context.Context, b *Balancer, i *instance, s rpc.Subscription) rpc.Subscription {
	c := &countedSubscription{Subscription: s}
	c.begin(ctx, b, i)
	return c
}

// Receive implements [rpc.Subscription].
func (c *countedSubscription) Receive(event rpc.Decoder) error {
	err := c.Subscription.Receive(event)
	if err != nil {
		c.end(err)
	}
	return err
}

// Close implements [rpc.Subscription].
func (c *countedSubscription) Close() error {
	defer c.end(nil)
	return c.Subscription.Close()
}
