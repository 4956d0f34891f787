//go:build invariants

package ring

import "sync"

// With the invariants tag, whoever keeps a payload too long finds out:
//
//   - Claim hands out private pages instead of places in the ring, Commit
//     copies from them, and from then on they can't be touched: any access
//     ends in a fault.
//   - Poll hands out read-only private copies, which become as untouchable at
//     Release.
//   - Released memory is overwritten before the writer gets it back, so that
//     nothing can live on stale records or on memory that happens to be zero.
//     (That of a broadcast ring isn't the subscribers' to write.)
//
// It costs some system calls and a copy per record, and it hides what a
// hostile peer does to payloads that were polled. debug.SetPanicOnFault turns
// the faults into panics.

// mirrored: payloads are handed out as private copies.
const mirrored = true

const (
	// quarantined bounds how many given-back payloads of one side stay
	// untouchable; older ones may be used again, for new payloads.
	quarantined = 256

	// maxGuarded bounds the pages' mappings of the whole process, of which
	// the kernel allows 65,530 (vm.max_map_count) and the Go runtime needs
	// some. Payloads beyond it are unguarded.
	maxGuarded = 16 << 10

	mangled = 0xDB // no valid commit word or header consists of these
)

// memoryGuards are the guards of the sides made from one mapping.
type memoryGuards struct {
	mu  sync.Mutex // several producers of one process may join at once
	all []*guard
}

func (g *memoryGuards) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, guard := range g.all {
		guard.close()
	}
	g.all = nil
}

func (m *Memory) newGuard() *guard {
	g := &guard{}
	m.guards.mu.Lock()
	defer m.guards.mu.Unlock()
	m.guards.all = append(m.guards.all, g)
	return g
}

func (m *Memory) newClaimGuard() claimGuard { return claimGuard{m.newGuard()} }
func (m *Memory) newViewGuard() viewGuard   { return viewGuard{m.newGuard()} }

// claimGuard hands out places to write to; they come back oldest first.
type claimGuard struct{ *guard }

// place stands in for n payload bytes at off.
func (g claimGuard) place(_ arena, _ uint64, n int) []byte { return g.hand(n).bytes[:n:n] }

// takeBack copies b into the ring if it is the oldest place, perhaps
// shortened, and makes the place untouchable. False means that it is not.
func (g claimGuard) takeBack(a arena, off uint64, b []byte) bool {
	p := g.out.front()
	if len(b) > 0 && &b[0] != &p.bytes[0] {
		return false
	}
	copy(a.payload(off, len(b)), b)
	g.retire(1)
	return true
}

// drop makes all places untouchable.
func (g claimGuard) drop() { g.retire(g.out.len()) }

// viewGuard hands out copies to read; they come back oldest first.
type viewGuard struct{ *guard }

// view stands in for the n payload bytes at off.
func (g viewGuard) view(a arena, off uint64, n int) []byte {
	p := g.hand(n)
	copy(p.bytes, a.payload(off, n))
	p.protect(readOnly)
	return p.bytes[:n:n]
}

// release makes the n oldest views untouchable.
func (g viewGuard) release(n int) { g.retire(n) }

// undo makes the n newest views untouchable, which nobody got to see.
func (g viewGuard) undo(n int) { g.retract(n) }

// mangle overwrites the released records from one position to another.
func mangle(a arena, mask, from, to uint64) {
	for from < to {
		off := from & mask
		n := min(to-from, mask+1-off)
		fill(a.bytes(off, n))
		from += n
	}
}

func fill(b []byte) {
	for i := range b {
		b[i] = mangled
	}
}
