// Package bulk copies payloads into memory that another core is about to read.
//
// The built-in copy is made for bytes that the same core goes on with. Here,
// each line of the destination is in the cache of the core that has read what
// was there before, and has to come over before it can be written: what counts
// is how many lines are under way at once, and whether their old bytes are
// fetched at all. docs/RING.md has what that gains.
package bulk

const (
	// linesLeast is the length from which on stores of whole lines gain more
	// than the call costs.
	linesLeast = 512
	// stringLeast is the length from which on REP MOVSB is faster than any
	// loop of stores.
	stringLeast = 8 << 10
	// piece is how much Copy hands to one instruction or call: well below the
	// 1 MiB from which the runtime's amd64 memmove writes past the caches.
	piece = 64 << 10
)

// Copy copies src into dst, as much as fits, and returns how many bytes that
// is, like the built-in copy; dst and src must not overlap.
//
// From 1 MiB on, Go's memmove on amd64 uses non-temporal stores
// (runtime/memmove_amd64.s, gobble_big_data_fwd), which go to main memory.
// That is right for bytes that nobody wants soon, and wrong here: the peer is
// about to read them, from the cache that both cores share. So Copy goes in
// pieces, and where the CPU has the means from 512 bytes on by stores of a
// whole line each, and from 8 KiB on by REP MOVSB, which does not read what it
// overwrites.
func Copy(dst, src []byte) int {
	n := min(len(dst), len(src))
	if n < linesLeast {
		return copy(dst, src)
	}
	dst, src = dst[:n], src[:n]
	if movesLines && n < stringLeast {
		moveLines(&dst[0], &src[0], uintptr(n))
		return n
	}
	for len(src) > 0 {
		k := min(len(src), piece)
		if movesStrings && n >= stringLeast {
			moveString(&dst[0], &src[0], uintptr(k))
		} else {
			copy(dst[:k], src[:k])
		}
		dst, src = dst[k:], src[k:]
	}
	return n
}
