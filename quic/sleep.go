package quic

// Arm implements [link.Receiver].
func (l *Link) Arm() bool {
	if l.state.Load() != stateOpen || !l.receive.arm() {
		return false
	}
	if l.cause.Load() != nil {
		// The end is near, and may be noted before the readers have seen it.
		l.receive.bell.disarm()
		return false
	}
	return true
}

// Disarm implements [link.Receiver].
func (l *Link) Disarm() {
	if l.state.Load() != stateClosed {
		l.receive.bell.disarm()
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

// WaitFDs implements [link.Link]: an eventfd for what arrives, and one for room.
func (l *Link) WaitFDs(fds []int) []int {
	if l.state.Load() == stateClosed {
		return fds
	}
	return l.space.waitFD(l.receive.bell.waitFD(fds))
}

// OnWake implements [link.Fed].
func (l *Link) OnWake(wake func()) {
	l.receive.bell.onWake(wake)
	l.space.onWake(wake)
}
