package ring

import "github.com/cell-runtime/cell/bulk"

// Copy copies src into dst, as much as fits, and returns how many bytes that
// is, like the built-in copy; dst and src must not overlap. It is for payloads,
// into or out of a ring, and is [bulk.Copy] under a name that is at hand here.
func Copy(dst, src []byte) int { return bulk.Copy(dst, src) }
