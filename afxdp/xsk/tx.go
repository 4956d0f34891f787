package xsk

import "sync/atomic"

// Tx is the ring of packets to send.
type Tx struct {
	ring
	entries []Desc
}

// Put queues packets and returns how many it took. Their frames are the
// kernel's until they come back by [Completion.Take]. In copy mode nothing is
// sent before [Socket.WakeTx].
func (t *Tx) Put(ds []Desc) int {
	n := t.room(uint32(len(ds)))
	for i := range ds[:n] {
		t.entries[(t.own+uint32(i))&t.mask] = ds[i]
	}
	if n > 0 {
		t.publish(n)
	}
	return int(n)
}

// Pending returns how many packets the kernel has not looked at yet.
func (t *Tx) Pending() int {
	t.other = atomic.LoadUint32(t.consumer)
	return int(min(t.own-t.other, t.size))
}

// NeedsWakeup says whether the kernel sends nothing until [Socket.WakeTx].
func (t *Tx) NeedsWakeup() bool { return t.needsWakeup() }
