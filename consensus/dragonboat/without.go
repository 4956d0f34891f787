//go:build nodragonboat || s390x

// Package dragonboat is left out of programs that are built with -tags
// nodragonboat, and everything that it needs with it; and on s390x, for which
// the library does not compile (Go 1.26: "illegal combination MOVDBR" in its
// internal/rsm).
package dragonboat
