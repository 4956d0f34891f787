#include "textflag.h"

// The counterpart of PAUSE; see pause_amd64.s for why it is one instruction.

// func pause()
TEXT ·pause(SB), NOSPLIT, $0-0
	YIELD
	RET
