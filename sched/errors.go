package sched

import "errors"

// Errors of this package, wrapped with what was refused, why, and how to mend
// it. Compare with errors.Is; where the kernel refused, its errno is wrapped
// beside the sentinel.
var (
	// ErrPrivilege: the kernel allows this only to a process with a
	// capability, a resource limit or a file permission that this one lacks.
	ErrPrivilege = errors.New("sched: privilege missing")
	// ErrNotSupported: this kernel, container or machine has no such thing.
	ErrNotSupported = errors.New("sched: not supported here")
	// ErrCPU: the CPU does not exist, is offline, or is outside what this
	// process may use.
	ErrCPU = errors.New("sched: CPU not usable")
	// ErrNoPlan: the host can't give a workload what it asks for.
	ErrNoPlan = errors.New("sched: no plan fits")
	// ErrSyntax: a text that the kernel or a person wrote can't be read.
	ErrSyntax = errors.New("sched: bad syntax")
)
