package quic

// Arm implements [link.Receiver].
func (l *Link) Arm() bool {
	if l.state.Load() != stateOpen || !l.receive.out.Arm() {
		return false
	}
	if l.cause.Load() != nil {
		// The end is near, and may be noted before the readers have seen it.
		l.receive.out.Disarm()
		return false
	}
	return true
}

// Disarm implements [link.Receiver].
func (l *Link) Disarm() {
	if l.state.Load() != stateClosed {
		l.receive.out.Disarm()
	}
}

// ArmSpace implements [link.Sender].
func (l *Link) ArmSpace(size int) bool {
	if l.sendFailed() != nil {
		return false
	}
	l.space.armed.Store(true)
	l.send.push() // a lane that has no room now sees the mark when it has
	if l.sendFailed() != nil || l.send.room(size) {
		l.space.armed.Store(false)
		return false
	}
	return true
}

// DisarmSpace implements [link.Sender].
func (l *Link) DisarmSpace() { l.space.disarm() }

// WaitFDs implements [link.Link]: the ring's doorbell, and an eventfd for room.
func (l *Link) WaitFDs(fds []int) []int {
	if l.state.Load() == stateClosed {
		return fds
	}
	return append(fds, l.receive.bell.FD(), l.space.fd)
}
