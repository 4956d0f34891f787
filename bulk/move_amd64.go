//go:build !race

package bulk

import "golang.org/x/sys/cpu"

// moveString copies n bytes by REP MOVSB.
//
//go:noescape
func moveString(dst, src *byte, n uintptr)

// movesStrings: REP MOVSB is fast (the CPU says so: "enhanced", ERMS).
var movesStrings = cpu.X86.HasERMS

// moveLines copies n bytes, at least 64, by loads and stores of 64 bytes.
//
//go:noescape
func moveLines(dst, src *byte, n uintptr)

// movesLines: the CPU has stores of 64 bytes, and is of a generation (Ice Lake,
// Zen 4) that does not slow down its clock for them.
var movesLines = cpu.X86.HasAVX512F && cpu.X86.HasAVX512VBMI2
