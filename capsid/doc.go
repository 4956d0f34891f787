// Package capsid starts cells in sandboxes. A capsid is a sandbox in which one
// cell runs; a [Backend] is a way of making them: bubblewrap, podman,
// WebAssembly, or none at all, which must be asked for by that name.
//
//	b, err := capsid.Open("bwrap")
//	p, err := b.Start(ctx, capsid.Spec{
//		Name:    "prices",
//		Command: []string{"/usr/libexec/prices"},
//		Limits:  capsid.Limits{Memory: 64 << 20, Processes: 32},
//	})
//	node := p.Socket()       // the one way out of the capsid
//	exit, err := p.Wait(ctx) // tells a crash from a kill from a limit
//
// It fails closed: a wall that was asked for and can't be had keeps the cell
// from starting, with an error that is [ErrUnavailable] and says what is missing
// and how to mend it. Nothing ever runs in less than what was asked for.
//
// A cell reaches nobody but its node, through one inherited socket whose
// number is in the environment variable CELL_NODE_FD; package uds speaks over it
// by itself, so a cell's code is the same with and without a capsid.
//
// docs/CAPSID.md says what each backend gives, docs/SECURITY.md what was tried
// against it.
package capsid
