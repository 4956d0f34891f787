package link

// Slow is a link whose medium may take only a part of what is flushed, and
// that can tell when it takes more. Without this a sleeper whose Flush said
// ErrFull has to try again by the clock: ArmSpace tells of room in the link,
// where there may be some although the medium has none.
type Slow interface {
	Link
	// ArmFlush announces that the sender wants to sleep until the medium
	// takes more of what Flush left over. It returns false if there is
	// nothing left over any more, having flushed once more, or the link has
	// failed: then don't sleep for it. After true, wait on the descriptors of
	// WaitFDs, call DisarmSpace, which ends this too, and Flush again. It
	// belongs to the sender's goroutine.
	ArmFlush() bool
}
