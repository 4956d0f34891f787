//go:build invariants

package view

import (
	"sync"
	"sync/atomic"
)

// Lease is how long a message may be read or built in place: memory of a link
// is used again once it was released. This is the form that the tag invariants
// selects, which panics when a view or builder is used after the end. The
// zero Lease never ends.
type Lease struct {
	of   *tenancy
	term uint64
}

// tenancy serves many leases, one after the other; its number counts them.
type tenancy struct{ term atomic.Uint64 }

// tenancies are those of leases that have ended.
var tenancies = sync.Pool{New: func() any { return new(tenancy) }}

// Lend begins a lease.
func Lend() Lease {
	t := tenancies.Get().(*tenancy)
	return Lease{of: t, term: t.term.Load()}
}

// End ends the lease and all its copies. Ending twice does nothing.
func (l Lease) End() {
	if l.of != nil && l.of.term.CompareAndSwap(l.term, l.term+1) {
		tenancies.Put(l.of)
	}
}

// Use panics if the lease has ended. Generated accessors call it.
func (l Lease) Use() {
	if l.of != nil && l.of.term.Load() != l.term {
		panic("view: a view or builder is used after its lease has ended: its memory may hold another message by now; copy what must outlive the handler")
	}
}
