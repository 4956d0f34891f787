//go:build race || !(amd64 || arm64 || s390x)

package metrics

import "sync/atomic"

// See store_plain.go. 32-bit machines would tear a plain 64-bit store, and the
// race detector can't know that the readers of a plain one are harmless.

func add(p *uint64, n uint64) { atomic.StoreUint64(p, *p+n) }

func store(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
