//go:build !invariants

package ring

// quarantineCosts: see the file with the tag.
const quarantineCosts = false
