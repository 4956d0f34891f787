// Assembly because the language has no PAUSE. One instruction a call: see the
// comment of Pause.

#include "textflag.h"

// func Pause()
TEXT ·Pause(SB), NOSPLIT, $0-0
	PAUSE
	RET
