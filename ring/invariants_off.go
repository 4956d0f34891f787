//go:build !invariants

package ring

// Without the invariants tag all of this compiles to nothing; what it does
// with the tag stands in invariants_on.go.

// mirrored: payloads are handed out as private copies.
const mirrored = false

type (
	memoryGuards struct{}
	claimGuard   struct{}
	viewGuard    struct{}
)

func (memoryGuards) close() {}

func (*Memory) newClaimGuard() claimGuard { return claimGuard{} }
func (*Memory) newViewGuard() viewGuard   { return viewGuard{} }

func (claimGuard) place(a arena, off uint64, n int) []byte { return a.payload(off, n) }
func (claimGuard) takeBack(a arena, off uint64, b []byte) bool {
	return len(b) == 0 || a.sameStart(b, off)
}
func (claimGuard) drop() {}

func (viewGuard) view(a arena, off uint64, n int) []byte { return a.payload(off, n) }
func (viewGuard) release(int)                            {}
func (viewGuard) undo(int)                               {}

func mangle(arena, uint64, uint64, uint64) {}
