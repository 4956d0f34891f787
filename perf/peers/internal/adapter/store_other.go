//go:build !amd64

package adapter

import "sync/atomic"

// storeWord is a release store.
func storeWord(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
