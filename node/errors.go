package node

import "errors"

// Errors of this package, wrapped with what, why and how to mend it; compare
// with errors.Is.
var (
	// ErrUnknown: the node has no such cell.
	ErrUnknown = errors.New("node: no such cell")
	// ErrCeiling: as many processes run as may.
	ErrCeiling = errors.New("node: the ceiling is reached")
	// ErrNotReady: the cell did not become ready.
	ErrNotReady = errors.New("node: the cell did not become ready")
	// ErrStopping: the node is stopping.
	ErrStopping = errors.New("node: stopping")
	// ErrPolicy: the caller may not do this.
	ErrPolicy = errors.New("node: not allowed")
	// ErrFailed: the cell failed too often and is left alone.
	ErrFailed = errors.New("node: the cell has failed too often")
	// errReplaced: the version went in between; there is another.
	errReplaced = errors.New("node: the version was replaced")
)
