package ring

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Sleeping and waking: the one edge that needs more than acquire and release.
//
//	sleeper                        publisher
//	A1 flag = asleep               B1 publish (release store)
//	   full fence                     full fence
//	A2 look: something published?  B2 flag asleep? then wake
//
// If both A2 and B2 could read the old values, the sleeper would sleep over
// published records. With a full fence on both sides one of them sees the
// other (the store-buffering pattern; Owens, Sarkar, Sewell, "A Better x86
// Memory Model", 2009).
//
// The publisher's fence would cost every batch a third of a small message's
// time, though nobody sleeps on a busy ring. So the sleeper pays for both:
// membarrier(2) with GLOBAL_EXPEDITED runs a full fence on every core that
// executes a process which registered for it. A side that publishes registers
// once and says so in the shared memory; until it has, or where it can't (old
// kernel, seccomp), it fences by itself. A publisher also fences until the sleeper's word
// says that the sleeper has membarrier: that of a new ring demands fences, so
// that no publication can have gone without one too early. A peer that lies
// about any of this only misses wake-ups or sends needless ones.
//
// On architectures where publishOrdersLoads holds, B1 and B2 stay in order by
// themselves and none of this is needed.
const (
	sleepArmed      = 1 << 0 // ring the doorbell after publishing
	sleepNeedsFence = 1 << 1 // fence before believing that nobody is armed

	flagRegistered = 1 << 0 // this side registered with membarrier
)

// Commands of membarrier(2), which golang.org/x/sys does not name.
const (
	membarrierQuery                   = 0
	membarrierGlobalExpedited         = 1 << 1
	membarrierRegisterGlobalExpedited = 1 << 2
)

// registration is this process's request to be fenced by others' membarrier.
// In a process with threads the kernel waits for a grace period before it
// answers, some 20 ms, which would be most of a small program's start: so the
// request is made beside the first ring, and publishers fence until it is
// granted.
var registration struct {
	once    sync.Once
	granted atomic.Bool
}

// registered reports whether others' membarrier fences this process. It is a
// variable so that tests can deny it.
var registered = func() bool {
	if publishOrdersLoads {
		return true
	}
	registration.once.Do(func() {
		go func() {
			// Not RawSyscall: this one waits.
			_, _, e := unix.Syscall(unix.SYS_MEMBARRIER, membarrierRegisterGlobalExpedited, 0, 0)
			registration.granted.Store(e == 0)
		}()
	})
	return registration.granted.Load()
}

// membarrier is a variable so that tests can make it fail.
var membarrier = func(cmd uintptr) bool {
	_, _, e := unix.RawSyscall(unix.SYS_MEMBARRIER, cmd, 0, 0)
	return e == 0
}

// canBarrier: this process may run membarrier on others.
var canBarrier = func() bool {
	if publishOrdersLoads {
		return true
	}
	cmds, _, e := unix.RawSyscall(unix.SYS_MEMBARRIER, membarrierQuery, 0, 0)
	return e == 0 && cmds&membarrierGlobalExpedited != 0
}()

// sleeper is the side of one sleep word that goes to sleep.
type sleeper struct {
	word  *uint32 // ours to set, either side's to clear
	peer  *uint32 // the peer's flags word
	own   *Doorbell
	armed bool
}

func (m *Memory) newSleeper(word, peerFlags uint64, own *Doorbell) sleeper {
	s := sleeper{word: m.control.word(word), peer: m.control.word(peerFlags), own: own}
	if canBarrier {
		atomic.AndUint32(s.word, ^uint32(sleepNeedsFence))
	} else {
		atomic.OrUint32(s.word, sleepNeedsFence)
	}
	return s
}

// arm sets the flag and fences. It returns false if the fence can't be had.
// After true the caller must look again, and disarm if there is something.
//
// The flag is set before the peer's registration is read: if that is still
// missing, the peer's locked write of it comes after the flag, and its next
// look at the flag after that.
func (s *sleeper) arm() bool {
	s.armed = true
	atomic.OrUint32(s.word, sleepArmed) // a full fence on this side
	if publishOrdersLoads || atomic.LoadUint32(s.word)&sleepNeedsFence != 0 ||
		atomic.LoadUint32(s.peer)&flagRegistered == 0 {
		return true // the peer's own order or fence is enough
	}
	if membarrier(membarrierGlobalExpedited) {
		return true
	}
	s.withdraw() // out of memory, say; the flag must not cost the peer wake-ups
	return false
}

// withdraw clears the flag of a side that doesn't sleep after all, and a wake-up
// that is pending. One that arrives later makes the next sleep short, which is
// harmless.
func (s *sleeper) withdraw() {
	s.armed = false
	if atomic.AndUint32(s.word, ^uint32(sleepArmed))&sleepArmed == 0 {
		_ = s.own.Drain() // a doorbell at its end says so again after the next sleep
	}
}

// disarm ends a sleep. It drains the doorbell whoever has cleared the flag: one
// that was shut down is readable without having been rung, and would end every
// sleep at once if the side, whose state is given, did not stop.
func (s *sleeper) disarm(side *stopState) {
	if !s.armed {
		return
	}
	s.armed = false
	atomic.AndUint32(s.word, ^uint32(sleepArmed))
	if err := s.own.Drain(); err != nil {
		side.stop(stopPeer)
	}
}

// waker is the side of one sleep word that publishes and wakes.
type waker struct {
	word   *uint32 // the peer's to set
	peer   *Doorbell
	fence  *fence
	flags  *uint32 // ours, shared
	always bool    // this process is not registered: fence on every publication
	wakes  uint64
}

func (m *Memory) newWaker(word, ownFlags uint64, peer *Doorbell) waker {
	w := waker{word: m.control.word(word), peer: peer, fence: new(fence), flags: m.control.word(ownFlags), always: true}
	w.relax()
	return w
}

// relax ends the fencing once this process is registered. A sleeper that has
// not seen the flag relies on our fence: the write of the flag is one, and our
// next look at the sleep word comes after it.
func (w *waker) relax() {
	if registered() {
		atomic.OrUint32(w.flags, flagRegistered)
		w.always = false
	}
}

// afterPublish wakes the peer if it sleeps. It makes no system call otherwise.
// It inlines; the rest does not.
func (w *waker) afterPublish() {
	if w.wanted() {
		w.slow()
	}
}

// wanted reports whether there may be more to do after a publication than to
// go on.
func (w *waker) wanted() bool { return w.always || atomic.LoadUint32(w.word) != 0 }

//go:noinline
func (w *waker) slow() {
	if w.always {
		w.relax()
	}
	s := atomic.LoadUint32(w.word)
	if !publishOrdersLoads && (w.always || s&sleepNeedsFence != 0) {
		w.fence.full()
		s = atomic.LoadUint32(w.word)
	}
	if s&sleepArmed == 0 {
		return
	}
	// Only one of several wakers, or of waker and disarming sleeper, rings.
	if atomic.AndUint32(w.word, ^uint32(sleepArmed))&sleepArmed != 0 {
		w.wakes++
		_ = w.peer.Ring() // a doorbell that can't be rung is a peer that is gone
	}
}
