package ring

import "sync/atomic"

// Stores and fences for arm64 (Arm ARM B2.3). Go compiles atomic.Store to
// STLR, which is exactly a release store and cheap; atomic.Load is LDAR. STLR
// does not keep later stores behind it, and LDAR does not keep earlier loads
// before it: where the broadcast ring needs that, it asks for a fence.

func storeRelease32(p *uint32, v uint32) { atomic.StoreUint32(p, v) }
func storeRelease64(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

// storeFence orders earlier stores before later stores: DMB ISHST.
//
//go:noescape
func storeFence()

// loadFence orders earlier loads before later loads and stores: DMB ISHLD.
//
//go:noescape
func loadFence()

// publishOrdersLoads: STLR followed by LDAR stays in order (Arm ARM B2.3.11),
// so that the sleep edge needs no fence.
const publishOrdersLoads = true
