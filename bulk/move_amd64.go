package bulk

import "golang.org/x/sys/cpu"

// moveString copies n bytes by REP MOVSB.
//
//go:noescape
func moveString(dst, src *byte, n uintptr)

// movesStrings: REP MOVSB is fast (the CPU says so: "enhanced", ERMS).
var movesStrings = cpu.X86.HasERMS
