package ring

// Stores and fences for amd64 (x86-TSO: Intel SDM vol. 3 §9.2, AMD APM vol. 2
// §7.1). The hardware keeps stores in program order and loads in program
// order, so a plain MOV is a release store and fences between stores, or
// between loads, need no instruction. Go's atomic.Store is an XCHG, which also
// orders later loads; the protocol pays for that only where it needs it (see
// sleep.go) because it costs about 5 ns, a third of a message.
//
// What remains is the compiler. Go's SSA form threads every store through one
// memory state, so it neither reorders stores nor moves a load across a store;
// a test reads the machine code to hold that.

func storeRelease32(p *uint32, v uint32) { *p = v }
func storeRelease64(p *uint64, v uint64) { *p = v }

// storeFence orders earlier stores before later stores.
func storeFence() {}

// loadFence orders earlier loads before later loads.
func loadFence() {}

// publishOrdersLoads: a MOV may still sit in the store buffer when a later
// load is served; the sleep edge needs a fence.
const publishOrdersLoads = false
