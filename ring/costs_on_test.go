//go:build invariants

package ring

// quarantineCosts: guarded payloads cost system calls, so fewer must do.
const quarantineCosts = true
