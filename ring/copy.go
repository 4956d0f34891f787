package ring

// copyPiece is how much Copy hands to one instruction or call: well below
// the 1 MiB from which the runtime's amd64 memmove writes past the caches.
const copyPiece = 64 << 10

// stringLeast is the length from which on REP MOVSB is faster than the
// built-in copy where the destination begins with a cache line.
const stringLeast = 8 << 10

// Copy copies src into dst, as much as fits, and returns how many bytes that
// is, like the built-in copy; dst and src must not overlap. It is for payloads,
// into or out of a ring.
//
// From 1 MiB on, Go's memmove on amd64 uses non-temporal stores
// (runtime/memmove_amd64.s, gobble_big_data_fwd), which go to main memory.
// That is right for bytes that nobody wants soon, and wrong here: the peer is
// about to read them, from the cache that both cores share. So Copy goes in
// pieces, and from 8 KiB on by REP MOVSB where the CPU has a fast one: into
// whole lines it does not read what it overwrites. docs/RING.md has what that
// gains.
func Copy(dst, src []byte) int {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
	strings := movesStrings && n >= stringLeast
	for len(src) > 0 {
		piece := min(len(src), copyPiece)
		if strings {
			moveString(&dst[0], &src[0], uintptr(piece))
		} else {
			copy(dst[:piece], src[:piece])
		}
		dst, src = dst[piece:], src[piece:]
	}
	return n
}
