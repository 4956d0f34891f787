#include "textflag.h"

// Go has no spelling for the one-directional barriers, and atomic operations
// on a dummy word would be full ones; hence assembly.

// func storeFence()
TEXT ·storeFence(SB), NOSPLIT, $0-0
	DMB $0xa // ISHST
	RET

// func loadFence()
TEXT ·loadFence(SB), NOSPLIT, $0-0
	DMB $0x9 // ISHLD
	RET
