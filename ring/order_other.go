//go:build !amd64 && !arm64

package ring

import "sync/atomic"

// Elsewhere Go's atomics, which are sequentially consistent, serve as they
// are; correctness before speed.

func storeRelease32(p *uint32, v uint32) { atomic.StoreUint32(p, v) }
func storeRelease64(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

var other fence

func storeFence() { other.full() }
func loadFence()  { other.full() }

// publishOrdersLoads: a release store here is also ordered before later
// atomic loads, so that the sleep edge needs no fence.
const publishOrdersLoads = true
