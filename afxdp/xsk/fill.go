package xsk

// Fill is the ring through which the kernel gets frames to receive into.
type Fill struct {
	ring
	entries []uint64
}

const addressSize = 8

// Put gives the kernel frames by their addresses and returns how many it took:
// fewer if the ring has no room for more.
func (f *Fill) Put(addresses []uint64) int {
	n := f.room(uint32(len(addresses)))
	for i, a := range addresses[:n] {
		f.entries[(f.own+uint32(i))&f.mask] = a
	}
	if n > 0 {
		f.publish(n)
	}
	return int(n)
}

// NeedsWakeup says whether the driver has stopped to look for frames until
// [Socket.WakeRx] is called. Only with [Config.NeedWakeup].
func (f *Fill) NeedsWakeup() bool { return f.needsWakeup() }
