package xsk

import "sync/atomic"

// ring is what the four rings share: two counters that only grow, modulo 2^32,
// in memory that the kernel maps too. The writer owns producer, the reader
// consumer; each keeps the other's as it saw it last, so that it touches the
// other's cache line only when it seems to be out of entries.
//
// Ordering. The writer fills entries and then stores producer; the reader loads
// producer and then reads them. sync/atomic's loads acquire and its stores
// release, on every architecture, which is what the kernel's
// smp_load_acquire and smp_store_release on the other side ask for
// (net/xdp/xsk_queue.h). The same holds for consumer, which tells the writer
// that an entry may be overwritten. Go's stores are sequentially consistent
// beyond that, so that a need-wakeup flag which is read after one can't be read
// before it: a kernel that goes to sleep between the two is still woken.
type ring struct {
	memory             []byte // the mapping
	producer, consumer *uint32
	flags              *uint32
	size, mask         uint32
	own, other         uint32 // counters: this side's, and the other's when last seen
}

// room returns for how many entries a writer has room, up to want.
func (r *ring) room(want uint32) uint32 {
	free := r.size - (r.own - r.other)
	if free < want {
		r.other = atomic.LoadUint32(r.consumer)
		free = r.size - (r.own - r.other)
	}
	return min(free, want, r.size)
}

// there returns how many entries a reader may read, up to want.
func (r *ring) there(want uint32) uint32 {
	n := r.other - r.own
	if n == 0 {
		r.other = atomic.LoadUint32(r.producer)
		n = r.other - r.own
	}
	return min(n, want, r.size)
}

// publish makes n entries that a writer has filled in the reader's.
func (r *ring) publish(n uint32) {
	r.own += n
	atomic.StoreUint32(r.producer, r.own)
}

// giveBack makes n entries that a reader has read the writer's.
func (r *ring) giveBack(n uint32) {
	r.own += n
	atomic.StoreUint32(r.consumer, r.own)
}

// needsWakeup says whether the kernel asked to be woken: XDP_RING_NEED_WAKEUP.
func (r *ring) needsWakeup() bool { return atomic.LoadUint32(r.flags)&ringNeedWakeup != 0 }

const ringNeedWakeup = 1
