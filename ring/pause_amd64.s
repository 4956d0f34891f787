#include "textflag.h"

// PAUSE tells the core that this is a spin: it stops speculating loads of the
// awaited line, which would otherwise cost a pipeline flush when the line
// changes. One instruction a call, because the loop must stay in Go, where it
// can be preempted; a loop in assembly would hold up a stop-the-world.

// func pause()
TEXT ·pause(SB), NOSPLIT, $0-0
	PAUSE
	RET
