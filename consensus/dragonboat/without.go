//go:build nodragonboat

// Package dragonboat is left out of programs that are built with -tags
// nodragonboat, and everything that it needs with it.
package dragonboat
