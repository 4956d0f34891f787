#include "textflag.h"

// PREFETCHW asks for a cache line in order to write to it. It is an instruction
// that Go's compiler has no name for, and one call for many lines costs less
// than one inlined for each. A loop of at most a few dozen instructions does
// not hold up a stop-the-world.

// func prefetchWrite(p unsafe.Pointer, lines uint64)
TEXT ·prefetchWrite(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ lines+8(FP), CX
	JMP  test
next:
	BYTE $0x0f; BYTE $0x0d; BYTE $0x08 // PREFETCHW (AX): a name the assembler lacks, too
	ADDQ $64, AX
	DECQ CX
test:
	TESTQ CX, CX
	JNE  next
	RET
