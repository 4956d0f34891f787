//go:build !race

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

// Stores of a whole cache line each, of which Go's own copy uses halves at
// most. A line is written in one piece, so that twice as many are under way
// before the store buffer is full: that is what limits a copy whose lines have
// to come from another core. Registers from Z16 on, because those below share
// their lower parts with what Go keeps there, and need no VZEROUPPER behind.

// func moveLines(dst, src *byte, n uintptr)
TEXT ·moveLines(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	// The last 64 bytes, which may overlap those before.
	LEAQ -64(DI)(CX*1), R8
	VMOVDQU64 -64(SI)(CX*1), Z20
	SUBQ $256, CX
	JB   rest
four:
	VMOVDQU64 (SI), Z16
	VMOVDQU64 64(SI), Z17
	VMOVDQU64 128(SI), Z18
	VMOVDQU64 192(SI), Z19
	VMOVDQU64 Z16, (DI)
	VMOVDQU64 Z17, 64(DI)
	VMOVDQU64 Z18, 128(DI)
	VMOVDQU64 Z19, 192(DI)
	ADDQ $256, SI
	ADDQ $256, DI
	SUBQ $256, CX
	JAE  four
rest:
	// CX is what is left, less 256.
	ADDQ $192, CX
	JCC  last
one:
	VMOVDQU64 (SI), Z16
	VMOVDQU64 Z16, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	SUBQ $64, CX
	JAE  one
last:
	VMOVDQU64 Z20, (R8)
	RET
