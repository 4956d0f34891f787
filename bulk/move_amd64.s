#include "textflag.h"

// The CPU's own copy instruction. It knows the length beforehand, so it can
// take whole cache lines for writing without reading them first from the core
// that has them, which no loop of loads and stores can say; and Go has no name
// for it. At most 64 KiB a call, some microseconds, so that a
// stop-the-world is not held up.

// func moveString(dst, src *byte, n uintptr)
TEXT ·moveString(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	CLD
	REP; MOVSB
	RET
