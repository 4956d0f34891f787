package capsid

import "errors"

// Errors of starting, wrapped with what, why and how to mend it; compare with
// errors.Is.
var (
	// ErrSpec: what was asked for can't be meant.
	ErrSpec = errors.New("capsid: bad specification")
	// ErrUnavailable: a wall that was asked for can't be had on this host, so
	// nothing was started.
	ErrUnavailable = errors.New("capsid: sandbox not available")
	// ErrStart: the walls stood, and the program could not be executed or
	// ended before it was.
	ErrStart = errors.New("capsid: the cell did not start")
)
