//go:build !invariants

package view

// Lease is how long a message may be read or built in place: memory of a link
// is used again once it was released. Built with the tag invariants, using a
// view or builder after the end of its lease panics; without it a Lease is
// empty and its methods do nothing. The zero Lease never ends.
type Lease struct{}

// Lend begins a lease.
func Lend() Lease { return Lease{} }

// End ends the lease and all its copies. Ending twice does nothing.
func (Lease) End() {}

// Use panics if the lease has ended. Generated accessors call it.
func (Lease) Use() {}
