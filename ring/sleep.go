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
// A barrier interrupts the publisher's core, which takes microseconds, in a
// virtual machine as long as the wake-up itself. So who sleeps demands fences for
// the time being, and its next sleeps need no barrier, until the publisher has
// fenced fencesLent times while nobody slept and takes the demand back. On a ring
// that is mostly asleep nobody ever runs a barrier; on one that is mostly awake
// nobody fences.
//
// On architectures where publishOrdersLoads holds, B1 and B2 stay in order by
// themselves and none of this is needed.
const (
	sleepArmed      = 1 << 0 // ring the doorbell after publishing
	sleepNeedsFence = 1 << 1 // fence before believing that nobody is armed
	sleepFenceLent  = 1 << 2 // the publisher may take sleepNeedsFence back

	sleepDemand = sleepNeedsFence | sleepFenceLent

	flagRegistered = 1 << 0 // this side registered with membarrier
)

// fencesLent is how many fences in a row that nobody needed a publisher makes
// before it takes a demand for them back: some microseconds' worth, about what
// the barrier costs that it spared.
const fencesLent = 250

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
// With the flag it demands fences. A demand that stood before was followed by a
// barrier, or by what came in place of one, so that every publication since has
// been fenced or has been seen here. A publisher that takes a demand back sees by
// the same instruction whether somebody is armed: such a sleeper it wakes, and
// whoever arms later finds no demand and has a barrier.
//
// The flag is set before the peer's registration is read: if that is still
// missing, the peer's locked write of it comes after the flag, and its next
// look at the flag after that.
func (s *sleeper) arm() bool {
	s.armed = true
	if publishOrdersLoads || !canBarrier {
		atomic.OrUint32(s.word, sleepArmed) // a full fence on this side
		return true                         // the peer's own order or fence is enough
	}
	before := atomic.OrUint32(s.word, sleepArmed|sleepDemand) // likewise
	if before&sleepNeedsFence != 0 || atomic.LoadUint32(s.peer)&flagRegistered == 0 ||
		membarrier(membarrierGlobalExpedited) {
		return true
	}
	// Out of memory, say. No barrier stands behind the demand, and the flag must
	// not cost the peer wake-ups.
	atomic.AndUint32(s.word, ^uint32(sleepDemand))
	s.withdraw()
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
	idle   uint8   // fences in a row that nobody needed
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
	if w.claim() {
		w.wakes++
		_ = w.peer.Ring() // a doorbell that can't be rung is a peer that is gone
	}
}

// claim fences where that is due, and reports whether this side must wake the
// peer now.
func (w *waker) claim() bool {
	if w.always {
		w.relax()
	}
	s := atomic.LoadUint32(w.word)
	if !publishOrdersLoads && (w.always || s&sleepNeedsFence != 0) {
		w.fence.full()
		s = atomic.LoadUint32(w.word)
	}
	if s&sleepArmed == 0 && (s&sleepFenceLent == 0 || !w.takeBack()) {
		return false
	}
	w.idle = 0
	// Only one of several wakers, or of waker and disarming sleeper, rings.
	return atomic.AndUint32(w.word, ^uint32(sleepArmed))&sleepArmed != 0
}

// takeBack counts a fence that nobody needed. When there were enough it ends the
// demand for them, and reports whether somebody has armed at the last moment.
func (w *waker) takeBack() (armed bool) {
	if w.idle++; w.idle < fencesLent {
		return false
	}
	w.idle = 0
	return atomic.AndUint32(w.word, ^uint32(sleepDemand))&sleepArmed != 0
}
