// Package lint holds the repository to rules that no compiler checks: which
// package may import which, where unsafe code may stand, how long a file may
// grow, that links in the documentation lead somewhere. go test runs them, so
// a rule can't be forgotten; nothing of the product imports this package.
//
// Each rule is a function from a tree of files (or from what go list prints)
// to findings, so that it is tested on small bad samples, in which it must
// find the fault, before it is believed about the repository.
package lint
