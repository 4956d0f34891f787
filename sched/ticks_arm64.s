// Assembly because the language has no way to read the system counter. Each
// function is a few instructions without a loop, so nothing here can delay a
// stop-the-world.

#include "textflag.h"

// func Ticks() uint64
//
// The counter may be read ahead of earlier instructions; ISB waits until those
// are done. It is what Linux does in __arch_counter_get_cntvct
// (arch/arm64/include/asm/arch_timer.h).
TEXT ·Ticks(SB), NOSPLIT, $0-8
	MOVBU ·counterOK(SB), R1
	CBZ   R1, fallback
	ISB   $15
	MRS   CNTVCT_EL0, R0
	MOVD  R0, ret+0(FP)
	RET

fallback:
	JMP ·monotonicTicks(SB)

// func TicksRelaxed() uint64
TEXT ·TicksRelaxed(SB), NOSPLIT, $0-8
	MOVBU ·counterOK(SB), R1
	CBZ   R1, fallback
	MRS   CNTVCT_EL0, R0
	MOVD  R0, ret+0(FP)
	RET

fallback:
	JMP ·monotonicTicks(SB)

// func counterFrequency() uint64
TEXT ·counterFrequency(SB), NOSPLIT, $0-8
	MRS  CNTFRQ_EL0, R0
	MOVD R0, ret+0(FP)
	RET
