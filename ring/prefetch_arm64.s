#include "textflag.h"

// PRFM PSTL1KEEP asks for a cache line in order to write to it; see the amd64
// file for why this is assembly.

// func prefetchWrite(p unsafe.Pointer, lines uint64)
TEXT ·prefetchWrite(SB), NOSPLIT, $0-16
	MOVD p+0(FP), R0
	MOVD lines+8(FP), R1
	CBZ  R1, done
next:
	PRFM (R0), PSTL1KEEP
	ADD  $64, R0
	SUBS $1, R1
	BNE  next
done:
	RET
