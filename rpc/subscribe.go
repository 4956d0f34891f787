package rpc

import (
	"context"

	"github.com/cell-runtime/cell/wire"
)

// Subscribe implements [Caller].
func (c *Conn) Subscribe(ctx context.Context, m *Method, o SubscribeOptions) (Subscription, error) {
	return nil, failure(m, wire.StatusUnimplemented, nil, "topics are not here yet")
}
