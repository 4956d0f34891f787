package bench

import (
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/sched"
)

// The physical limit of a stream: blocks are copied into shared memory by one
// core and read there by the other, with one word a block to say whose it is.
// No header, no lengths, no batches.

// slotEnd is the word that ends the peer's loop.
const slotEnd = 2

// slotsFor returns how many blocks of n bytes take turns.
func slotsFor(n int) int { return max(min((sharedSize-sharedData)/n, maxSlots, max(512<<10/n, 4)), 2) }

// giveSlots copies blocks of n bytes until the time is over.
func giveSlots(s *shared, gone *atomic.Bool, n int, length time.Duration) error {
	src, slots, until := make([]byte, n), slotsFor(n), after(length)
	for i := 0; ; i++ {
		f := s.flag(i % slots)
		for spins := 1; atomic.LoadUint64(f) != 0; spins++ {
			sched.Pause()
			if spins%spinsPerLook == 0 && gone.Load() {
				return errPeer
			}
		}
		if (i%looksPerTime == 0 || n > 4096) && past(sched.TicksRelaxed(), until) {
			storeWord(f, slotEnd)
			return nil
		}
		copy(s.slot(i%slots, n), src)
		storeWord(f, 1)
	}
}

// takeSlots reads one word of every cache line of each block.
func takeSlots(s *shared, slots, n int) (a answer) {
	begin, sum := int64(0), uint64(0)
	for i := 0; ; i++ {
		f := s.flag(i % slots)
		got := atomic.LoadUint64(f)
		for got == 0 {
			sched.Pause()
			got = atomic.LoadUint64(f)
		}
		if begin == 0 {
			begin = sched.Now()
		}
		if got == slotEnd {
			a.Elapsed = time.Duration(max(sched.Now()-begin, 1))
			_ = sum
			return a
		}
		sum += touch(s.slot(i%slots, n))
		storeWord(f, 0)
		a.Count++
		a.Bytes += uint64(n)
	}
}

// copyLimit measures blocks of n bytes through shared memory.
func (b *Bench) copyLimit(n int, cpus [2]int, length time.Duration) (report.Sample, error) {
	b.shared.clear()
	if err := b.ask(job{Op: opSlots, CPU: cpus[1], Slots: slotsFor(n), Payload: n}); err != nil {
		return report.Sample{}, err
	}
	if err := onCPU(cpus[0], func() error { return giveSlots(b.shared, &b.gone, n, length) }); err != nil {
		return report.Sample{}, err
	}
	a, err := b.await()
	return report.Sample{Count: a.Count, Bytes: a.Bytes, Elapsed: a.Elapsed}, err
}
