//go:build !nodragonboat && !s390x

// Package dragonboat is the backend of package consensus on
// github.com/lni/dragonboat/v4, and the only package that imports it. A program
// built with -tags nodragonboat can't have it.
//
// # Durability
//
// An acknowledged entry is on the disks of a majority: each of them has called
// fsync before it said so. [Options.UnsafeNoSync] is the only other mode, and
// what is lost with it is said at its place and in the log at every start.
//
// # Failure
//
// dragonboat gives up by panic in goroutines of its own: when the disk is full,
// when it can't read what it wrote, when a replica has lost what it had
// acknowledged. Nothing can recover from that within the process, so run a host
// in a process of its own, under consensus/supervise.
//
// It also reads a file dragonboat-soft-settings.json in the working directory;
// [Open] refuses to run beside one.
package dragonboat
