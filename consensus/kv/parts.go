package kv

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/rpc"
)

// DialStore is [Dial] for a store that may be split, now or later: dial makes what
// reaches the members of a group, of which group is the first. Calls find the part
// that has their key. What concerns several parts is not one step: a transaction,
// or a Delete of a range, whose keys are in several is refused, and Range reads the
// parts one after the other. Leases are the first part's; keys of others have none.
func DialStore(o *rpc.ConnOptions, group string, dial func(group string) []rpc.DialFunc) *Client {
	c := Dial(o, dial(group)...)
	c.part = func(group string) *Client { return Dial(o, dial(group)...) }
	return c
}

// part is a part of a store other than the first.
type part struct {
	from, group string
	c           *Client
}

// fillingPause is between two attempts at a part that is being given its keys.
const fillingPause = 20 * time.Millisecond

// of returns the client of the part that has a key, as far as is known.
func (c *Client) of(key string) *Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, found := slices.BinarySearchFunc(c.parts, key, func(p part, key string) int { return cmp.Compare(p.from, key) })
	if found {
		return c.parts[i].c
	}
	if i == 0 {
		return c
	}
	return c.parts[i-1].c
}

// learn notes which group has the keys from some key on.
func (c *Client) learn(from, group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, found := slices.BinarySearchFunc(c.parts, from, func(p part, from string) int { return cmp.Compare(p.from, from) })
	if found && c.parts[i].group == group {
		return
	}
	p := part{from, group, c.part(group)}
	c.hang = append(c.hang, p.c.Hang)
	if found {
		c.parts[i] = p
	} else {
		c.parts = slices.Insert(c.parts, i, p)
	}
}

// routed calls the part that has a key, which moves where it has to.
func routed[R any](ctx context.Context, c *Client, key []byte, f func(context.Context, *Client) (R, error)) (R, error) {
	if c.part == nil {
		return f(ctx, c)
	}
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	for {
		r, err := f(ctx, c.of(string(key)))
		if from, group, ok := movedOf(err); ok && from <= string(key) {
			c.learn(from, group)
			continue
		}
		if err == nil || !strings.Contains(err.Error(), fillingText) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, err
		case <-time.After(fillingPause):
		}
	}
}

// firstKey is the first key that an action names; nil: none, which is a matter of
// the first part.
func firstKey(a Action) []byte {
	if a.Txn == nil {
		return nil
	}
	for i := range a.Txn.If {
		return a.Txn.If[i].Key
	}
	for _, ops := range [][]Op{a.Txn.Then, a.Txn.Else} {
		for i := range ops {
			return ops[i].Key
		}
	}
	return nil
}

// Range reads keys in order. Where they go on in another part, it does so there.
func (c *Client) Range(ctx context.Context, req RangeRequest) (RangeReply, error) {
	for {
		r, err := routed(ctx, c, req.Start, func(ctx context.Context, c *Client) (RangeReply, error) {
			return try(ctx, c, func(ctx context.Context, m *KVClient) (RangeReply, error) { return m.Range(ctx, req) })
		})
		from, group, ok := movedOf(err)
		if c.part == nil || !ok {
			return r, err
		}
		c.learn(from, group)
		req.Start = []byte(from) // all before it was told
	}
}
