package balance

import (
	"context"
	"hash/fnv"

	"github.com/cell-runtime/cell/rpc"
)

type contextKey struct{}

// WithKey returns a context whose calls stick to one instance under Sticky.
func WithKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, contextKey{}, KeyOf(key))
}

// ContextKey is the [KeyFunc] that takes what [WithKey] put into the context.
func ContextKey(ctx context.Context, _ *rpc.Method, _ rpc.Encoder) (key uint64, ok bool) {
	key, ok = ctx.Value(contextKey{}).(uint64)
	return key, ok
}

// KeyOf returns the number that stands for a text as a key, the same in every
// process: FNV-1a with 64 bits.
func KeyOf(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}
