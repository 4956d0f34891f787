// Assembly because the language has no spin hint. One instruction a call: see
// the comment of Pause.

#include "textflag.h"

// func Pause()
//
// ISB rather than YIELD: on most cores YIELD is a NOP, while ISB empties the
// pipeline and so waits some 10 ns, as PAUSE does. Rust's spin_loop and
// several databases settled on it for that reason.
TEXT ·Pause(SB), NOSPLIT, $0-0
	ISB $15
	RET
