package ring

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/wire"
)

// barrierModes are the three ways to order publication and sleep.
var barrierModes = []struct {
	name                   string
	registered, canBarrier bool
}{
	{"the sleeper fences both", true, true},
	{"the publisher has no membarrier", false, true},
	{"the sleeper has no membarrier", true, false},
	{"nobody has membarrier", false, false},
}

// force makes this process look as if the kernel gave it no membarrier.
func force(t *testing.T, mayRegister, mayBarrier bool) {
	t.Helper()
	r, b := registered, canBarrier
	t.Cleanup(func() { registered, canBarrier = r, b })
	granted := mayRegister && awaitRegistration()
	registered, canBarrier = func() bool { return granted }, b && mayBarrier
}

// awaitRegistration gives the kernel the time that it takes to grant it.
func awaitRegistration() bool {
	for end := time.Now().Add(standstill); !registered() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	return registered()
}

func TestArm(t *testing.T) {
	for _, mode := range barrierModes {
		t.Run(mode.name, func(t *testing.T) {
			force(t, mode.registered, mode.canBarrier)
			x := newPair(t, MinSize)
			for range 3 {
				if !x.c.Arm() {
					t.Fatal("Arm of an empty ring = false")
				}
				wakes := x.p.Stats().Wakes
				x.send(1, 8)
				if !rings(t, x.data, 1000) || x.p.Stats().Wakes != wakes+1 {
					t.Fatalf("published for an armed consumer: rings %v, %d wakes", rings(t, x.data, 0), x.p.Stats().Wakes-wakes)
				}
				x.send(1, 8) // it was woken already
				if x.p.Stats().Wakes != wakes+1 {
					t.Error("a second wake-up for one sleep")
				}
				if x.c.Arm() {
					t.Error("Arm with records to poll = true")
				}
				x.c.Disarm()
				x.c.Disarm()
				if rings(t, x.data, 0) {
					t.Error("the doorbell rings after Disarm")
				}
				x.receive(8, 8)
			}
			if !x.c.Arm() {
				t.Error("Arm = false")
			}
			x.c.Disarm()
			before := x.p.Stats().Wakes
			x.send(1, 8)
			if x.p.Stats().Wakes != before || rings(t, x.data, 0) {
				t.Error("a wake-up for a disarmed consumer")
			}
		})
	}
}

func TestArmSpace(t *testing.T) {
	for _, mode := range barrierModes {
		t.Run(mode.name, func(t *testing.T) {
			force(t, mode.registered, mode.canBarrier)
			x := newPair(t, MinSize)
			if x.p.ArmSpace(x.p.MaxPayload()) {
				t.Error("ArmSpace of an empty ring = true")
			}
			x.send(3, 900)
			if x.p.ArmSpace(900) {
				t.Error("ArmSpace with room = true")
			}
			if !x.p.ArmSpace(x.p.MaxPayload()) {
				t.Fatal("ArmSpace without room = false")
			}
			x.receive(900, 900, 900)
			if !rings(t, x.space, 1000) || x.c.Stats().Wakes != 1 {
				t.Fatalf("released for an armed producer: %d wakes", x.c.Stats().Wakes)
			}
			x.p.DisarmSpace()
			if rings(t, x.space, 0) {
				t.Error("the doorbell rings after DisarmSpace")
			}
			x.send(1, x.p.MaxPayload())
			x.receive(x.p.MaxPayload())
			if x.c.Stats().Wakes != 1 {
				t.Error("a wake-up for a disarmed producer")
			}
		})
	}
}

func TestArmWithoutDoorbells(t *testing.T) {
	m := newMemory(t, Options{Size: MinSize})
	p, err := NewProducer(m, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewConsumer(m, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Arm() || p.ArmSpace(p.MaxPayload()) {
		t.Error("a side without a doorbell may sleep")
	}
	c.Disarm()
	p.DisarmSpace()
	c.Stop(false)
	p.Stop(false)
}

// A wake-up for a peer that armed itself but gave us no doorbell.
func TestArmedPeerWithoutDoorbell(t *testing.T) {
	x := newPair(t, MinSize)
	x.p.wake.peer = nil
	if !x.c.Arm() {
		t.Fatal("Arm = false")
	}
	x.send(1, 8)
	x.c.Disarm()
	x.receive(8)
}

func TestStopWakesSleepers(t *testing.T) {
	x := newPair(t, MinSize)
	if !x.c.Arm() {
		t.Fatal("Arm = false")
	}
	x.c.Stop(false)
	x.p.Stop(true)
	if !rings(t, x.data, 1000) || !rings(t, x.space, 1000) {
		t.Error("Stop rings no doorbell")
	}
}

// Without the barrier nobody may sleep, and no flag may be left behind.
func TestBarrierThatFails(t *testing.T) {
	if publishOrdersLoads {
		t.Skip("this processor needs no barrier")
	}
	x := newPair(t, MinSize)
	real := membarrier
	defer func() { membarrier = real }()
	membarrier = func(uintptr) bool { return false }
	if x.c.Arm() {
		t.Error("Arm = true without a barrier")
	}
	x.send(1, 8)
	if x.p.Stats().Wakes != 0 {
		t.Error("a wake-up for a consumer that may not sleep")
	}
	x.receive(8)
}

// While nobody sleeps, publishing and releasing ring no doorbell.
func TestAwakePeersAreNotWoken(t *testing.T) {
	x := newPair(t, MinSize)
	for range 10_000 / (1 + 9*costly()) {
		x.send(2, 100)
		x.receive(100, 100)
	}
	if p, c := x.p.Stats().Wakes, x.c.Stats().Wakes; p+c != 0 || rings(t, x.data, 0) || rings(t, x.space, 0) {
		t.Errorf("%d and %d wake-ups of peers that were awake", p, c)
	}
}

func costly() int {
	if quarantineCosts || emulated() {
		return 1
	}
	return 0
}

// Who sleeps has one barrier, and none from then on while the publisher fences;
// after fences enough that nobody needed, the next sleep has one again.
func TestSleepsNeedOneBarrier(t *testing.T) {
	if publishOrdersLoads {
		t.Skip("nobody needs any here")
	}
	if !awaitRegistration() || !canBarrier {
		t.Skip("the kernel has no membarrier")
	}
	barriers, works, real := 0, true, membarrier
	t.Cleanup(func() { membarrier = real })
	membarrier = func(cmd uintptr) bool { barriers++; return works && real(cmd) }
	x := newPair(t, MinSize)
	x.send(1, 8) // says that it is registered
	x.receive(8)
	sleep := func(want int, what string) {
		t.Helper()
		before := barriers
		if x.c.Arm() != works {
			t.Fatalf("%s: Arm = %v", what, !works)
		}
		if works {
			x.send(1, 8)
		}
		x.c.Disarm()
		if works {
			x.receive(8)
		}
		if got := barriers - before; got != want {
			t.Errorf("%s: %d barriers, want %d", what, got, want)
		}
	}
	exchange := func(n int) {
		for range n {
			x.send(1, 8)
			x.receive(8)
		}
	}
	works = false
	sleep(1, "at first, when the barrier fails")
	if x.p.wake.wanted() {
		t.Error("a demand without a barrier behind it stayed")
	}
	works = true
	sleep(1, "the first")
	sleep(0, "the second")
	exchange(fencesLent - 1)
	sleep(0, "after some work")
	exchange(fencesLent - 1)
	if !x.p.wake.wanted() {
		t.Error("a sleep does not begin the count anew")
	}
	exchange(1)
	if x.p.wake.wanted() {
		t.Error("the publisher still fences after much work")
	}
	sleep(1, "after much work")
	sleep(0, "the second after it")
}

// A publisher that can't tell whether the sleeper has membarrier, or whose
// sleeper has none, fences for good.
func TestDemandThatIsForGood(t *testing.T) {
	if publishOrdersLoads {
		t.Skip("nobody demands anything here")
	}
	force(t, true, false)
	x := newPair(t, MinSize)
	for range 2 * fencesLent {
		x.send(1, 8)
		x.receive(8)
	}
	if !x.c.Arm() {
		t.Fatal("Arm = false")
	}
	x.c.Disarm()
	for range 2 * fencesLent {
		x.send(1, 8)
		x.receive(8)
	}
	if !x.p.wake.wanted() {
		t.Error("the publisher no longer fences for a sleeper without membarrier")
	}
}

// The litmus test of the sleep edge: a sleeper arms and looks while a
// publisher publishes and looks. Both may notice; one must.
func TestSleeperAndPublisherNeverMissEachOther(t *testing.T) {
	if !keepsOrder() {
		t.Skip("this emulator does not keep a load behind an earlier release store")
	}
	rounds := 6_000
	if brief() {
		rounds = 2_000
	}
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("one core can't race")
	}
	for _, mode := range barrierModes {
		t.Run(mode.name, func(t *testing.T) {
			force(t, mode.registered, mode.canBarrier)
			x := newPair(t, MinSize)
			var ready, done [2]atomic.Uint32 // rounds that each side has begun and ended
			meet := func(at *[2]atomic.Uint32, side, round int) {
				at[side].Store(uint32(round))
				for spins := 0; at[1-side].Load() < uint32(round); spins++ {
					if pause(); spins > 2000 {
						runtime.Gosched()
					}
				}
			}
			var wakes uint64 // the publisher's, written between meetings
			var publisher sync.WaitGroup
			publisher.Go(func() {
				var vs [1]wire.Vesicle
				for round := 1; round <= rounds; round++ {
					_, _ = x.p.Claim(vs[:], 8)
					vs[0].Header = wire.Header{Kind: wire.KindEvent}
					_ = x.p.Commit(vs[:])
					meet(&ready, 0, round)
					for range round * 7 % 151 { // membarrier takes the sleeper long
						pause()
					}
					if round%3 == 0 {
						x.p.wake.idle = fencesLent - 1 // so that demands end now and then
					}
					_ = x.p.Flush()
					wakes = x.p.Stats().Wakes
					meet(&done, 0, round)
				}
			})
			var in [1]wire.Vesicle
			asleep, awake, before := 0, 0, uint64(0)
			for round := 1; round <= rounds; round++ {
				meet(&ready, 1, round)
				for range round % 19 {
					pause()
				}
				sleeps := x.c.Arm()
				meet(&done, 1, round)
				switch {
				case sleeps && wakes == before:
					t.Errorf("round %d: the sleeper would sleep and was not woken", round)
					x.c.Disarm()
				case sleeps:
					asleep++
					x.c.Disarm()
				default:
					awake++
				}
				before = wakes
				if n, err := x.c.Poll(in[:]); n != 1 || err != nil || x.c.Release(1) != nil {
					t.Errorf("round %d: Poll = %d, %v", round, n, err)
				}
			}
			publisher.Wait()
			t.Logf("%d times asleep and woken, %d times awake", asleep, awake)
		})
	}
}

// The hammer: both sides sleep before each message, so that every arming
// races with a publication. A lost wake-up ends in a timeout.
func TestNoWakeUpIsLost(t *testing.T) {
	if !keepsOrder() {
		t.Skip("this emulator does not keep a load behind an earlier release store")
	}
	rounds := 30_000
	if brief() {
		rounds = 2_000
	}
	for _, mode := range barrierModes {
		t.Run(mode.name, func(t *testing.T) {
			force(t, mode.registered, mode.canBarrier)
			there, back := newPair(t, MinSize), newPair(t, MinSize)
			var both sync.WaitGroup
			both.Go(func() { echo(t, there, back, rounds, 1) })
			both.Go(func() { volley(t, there, back, rounds) })
			both.Wait()
		})
	}
}

// volley sends a record and waits for its echo, rounds times.
func volley(t *testing.T, there, back *pair, rounds int) {
	r := rand.New(rand.NewPCG(7, 7))
	for n := range rounds {
		if !pass(t, there.p, n) || !catch(t, back, n, r.IntN(40)) {
			return
		}
	}
}

func echo(t *testing.T, there, back *pair, rounds int, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 8))
	for n := range rounds {
		if !catch(t, there, n, r.IntN(40)) || !pass(t, back.p, n) {
			return
		}
	}
}

func pass(t *testing.T, p *Producer, n int) bool {
	var vs [1]wire.Vesicle
	if got, err := p.Claim(vs[:], 8); got != 1 || err != nil {
		t.Errorf("Claim = %d, %v", got, err)
		return false
	}
	vs[0].Header = wire.Header{Kind: wire.KindEvent, Correlation: uint32(n)}
	if err := p.Commit(vs[:]); err != nil {
		t.Error(err)
		return false
	}
	if err := p.Flush(); err != nil {
		t.Error(err)
		return false
	}
	return true
}

// catch waits asleep, after a few looks, for record n.
func catch(t *testing.T, x *pair, n, looks int) bool {
	var in [2]wire.Vesicle
	for end := time.Now().Add(20 * time.Second); ; {
		for range looks {
			pause()
		}
		got, err := x.c.Poll(in[:])
		if err != nil || got > 1 || got == 1 && in[0].Header.Correlation != uint32(n) {
			t.Errorf("round %d: Poll = %d, %v, %v", n, got, in[0].Header, err)
			return false
		}
		if got == 1 {
			return x.c.Release(1) == nil
		}
		if x.c.Arm() {
			if !rings(t, x.data, 5000) {
				t.Errorf("round %d: asleep for 5 s; the ring holds a record: %v", n, x.c.ready())
				return false
			}
			x.c.Disarm()
		}
		if time.Now().After(end) {
			t.Errorf("round %d: no record for 20 s", n)
			return false
		}
	}
}

func TestSleepWordsOfANewRing(t *testing.T) {
	for _, mode := range barrierModes {
		t.Run(mode.name, func(t *testing.T) {
			m := newMemory(t, Options{Size: MinSize})
			for _, off := range []uint64{offReaderSleep, offWriterSleep} {
				if w := *m.control.word(off); w != sleepNeedsFence {
					t.Errorf("sleep word %#x, want the demand for fences", w)
				}
			}
			force(t, mode.registered, mode.canBarrier)
			if _, err := NewConsumer(m, nil, nil); err != nil {
				t.Fatal(err)
			}
			if demands := *m.control.word(offReaderSleep)&sleepNeedsFence != 0; demands == canBarrier {
				t.Errorf("the reader demands fences: %v, can have them by itself: %v", demands, canBarrier)
			}
			if says := *m.control.word(offReaderFlags)&flagRegistered != 0; says != registered() {
				t.Error(fmt.Sprint("the reader says it is registered: ", says))
			}
		})
	}
}

// A ring that is older than its process's registration stops fencing once that
// is granted, and says so.
func TestRegistrationMayComeLate(t *testing.T) {
	if !awaitRegistration() {
		t.Skip("the kernel grants no membarrier")
	}
	granted, before := false, registered
	registered = func() bool { return granted }
	t.Cleanup(func() { registered = before })
	x := newPair(t, MinSize)
	flags := x.near.control.word(offWriterFlags)
	for _, granted = range []bool{false, true} {
		for range 2 {
			if !x.c.Arm() {
				t.Fatal("Arm of an empty ring = false")
			}
			x.send(1, 8)
			if !rings(t, x.data, 1000) {
				t.Fatalf("published for a sleeper, registered %v: the doorbell does not ring", granted)
			}
			x.c.Disarm()
			x.receive(8)
		}
		if x.p.wake.always == granted || (*flags&flagRegistered != 0) != granted {
			t.Errorf("registered %v: the publisher fences %v, its flags are %#x", granted, x.p.wake.always, *flags)
		}
	}
}
