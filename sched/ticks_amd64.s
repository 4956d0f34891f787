// Assembly because the language has no way to read the TSC. Each function is a
// few instructions without a loop, so nothing here can delay a stop-the-world.

#include "textflag.h"

// func Ticks() uint64
//
// LFENCE waits until every earlier instruction has completed, loads included,
// before RDTSC reads; RDTSC alone may be executed ahead of them. It is what
// Linux does in rdtsc_ordered (arch/x86/include/asm/tsc.h); Linux also makes
// LFENCE serialising on AMD.
TEXT ·Ticks(SB), NOSPLIT, $0-8
	CMPB ·counterOK(SB), $0
	JEQ  fallback
	LFENCE
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	MOVQ AX, ret+0(FP)
	RET

fallback:
	JMP ·monotonicTicks(SB)

// func TicksRelaxed() uint64
TEXT ·TicksRelaxed(SB), NOSPLIT, $0-8
	CMPB ·counterOK(SB), $0
	JEQ  fallback
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	MOVQ AX, ret+0(FP)
	RET

fallback:
	JMP ·monotonicTicks(SB)

// func cpuid(leaf uint32) (eax, ebx, ecx, edx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	MOVL DX, edx+20(FP)
	RET
