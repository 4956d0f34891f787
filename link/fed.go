package link

// Fed is a link that goroutines of this process feed, such as those that read
// a QUIC connection. By a descriptor they could wake its user only through the
// kernel: a system call on either side, and the wake-up of a thread, which on
// an idle core takes longer than all the rest of a round trip. A function that
// they call costs a switch between goroutines.
type Fed interface {
	Link
	// OnWake has wake called whenever a descriptor of WaitFDs would become
	// readable otherwise: for a side that is armed, once for each time that it
	// was, and at the link's end. While a function is set WaitFDs appends
	// nothing. nil returns to descriptors.
	//
	// OnWake is called by whoever owns both halves, while neither is armed.
	// wake is called by any goroutine, also with locks of the link held, until
	// OnWake has returned from setting another: it must not block, and not
	// call the link.
	OnWake(wake func())
}
