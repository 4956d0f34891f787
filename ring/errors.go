package ring

import "errors"

// Errors of the package, possibly wrapped with context; compare with
// errors.Is. Those that package link names too have the same identity there.
var (
	// ErrFull: no room for even one record now.
	ErrFull = errors.New("no room")
	// ErrTooLarge: the payload can never fit; see MaxPayload.
	ErrTooLarge = errors.New("payload above the maximum")
	// ErrClosed: this side was shut down.
	ErrClosed = errors.New("closed")
	// ErrPeerGone: the peer is known to have ended.
	ErrPeerGone = errors.New("peer gone")
	// ErrCorrupt: the shared memory holds what no honest peer writes.
	ErrCorrupt = errors.New("peer broke the protocol")
	// ErrOrder: more records were committed, aborted or released than are
	// outstanding, or a payload was moved or grown; nothing was changed.
	ErrOrder = errors.New("more vesicles than are outstanding, or a payload moved or grown")

	// ErrSize: the size is not a power of two from 4 KiB to 1 GiB.
	ErrSize = errors.New("ring: size must be a power of two from 4 KiB to 1 GiB")
	// ErrSeals: the descriptor is not memory that is sealed against
	// shrinking; mapping it would let the peer crash this process (SIGBUS).
	ErrSeals = errors.New("ring: memory is not sealed against shrink, grow and further seals")
	// ErrFormat: sealed memory, but not a ring of this version and shape.
	ErrFormat = errors.New("ring: not a ring of this version")
	// ErrKind: a ring of another shape (SPSC, MPSC, broadcast).
	ErrKind = errors.New("ring: a ring of another kind")
	// ErrInUse: the role is already taken in this ring.
	ErrInUse = errors.New("ring: role already taken")
	// ErrHugePages: huge pages were asked for and can't be had.
	ErrHugePages = errors.New("ring: no huge pages")
	// ErrMemory: the kernel would not provide or map the memory.
	ErrMemory = errors.New("ring: no memory")
	// ErrDoorbell: the descriptor is not an end of a doorbell.
	ErrDoorbell = errors.New("ring: not a doorbell")
)
