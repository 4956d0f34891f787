// Package view is what generated views and builders stand on: messages are
// read and written in place, in the memory of the link that carries them.
// Programs use the types that cellgen generates; this package is for them.
//
// A view is a small value over the bytes of a message. Its accessors never
// panic and never read outside those bytes, whatever they hold and even if a
// hostile peer changes them between two reads: each offset and count is read
// once, bounded, and then used. What is missing or lies reads as zero or
// empty. Whoever wants to refuse malformed messages rather than read zeros
// checks them once, on arrival; see [Checker].
//
// A struct's block has a length that is known when code is generated, so a
// view holds a pointer to an array of it and reading a field is a plain load.
// The one comparison is made when the view is. Where the sender's block was
// shorter, because its schema lacks the last fields, the view stands on a copy
// that zeros complete.
//
// A builder writes a message into a place of the caller's, such as one that a
// link has claimed. Places hold arbitrary bytes before, so a builder zeroes
// each block when it begins it.
//
// docs/SCHEMA.md describes the layout. Built with the tag invariants, a view
// or builder that is used after its [Lease] has ended panics; without the tag
// leases cost nothing.
package view
