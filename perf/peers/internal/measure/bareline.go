package measure

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/sched"
)

// The bare line says how far two CPUs are from each other at the moment: one
// word goes there in a cache line and another comes back. In a virtual machine
// that changes within seconds, by a factor of five, as the host moves the CPUs
// from core to core; figures of one distance say nothing of the other.

const (
	lineGroups = 64  // of which the median is taken
	lineTrips  = 32  // in one group: a single one is near the clock's step
	lineWarmup = 500 // round trips that don't count
	lineBound  = 5 * time.Second
)

// errLine: the two CPUs did not both run.
var errLine = errors.New("the bare line did not come back")

// bareLine returns the time of a round trip in ns: the median of some
// thousands, which take some milliseconds at most.
func bareLine(cpus [2]int) (nanos float64, err error) {
	words := new([3][16]atomic.Uint64) // a pair of lines each, the first to keep off what lies before
	ping, pong := &words[1][0], &words[2][0]
	var stop atomic.Bool
	ended := make(chan error, 1)
	go func() {
		ended <- onCPU(cpus[1], func() error {
			for want := uint64(1); !stop.Load(); want++ {
				for ping.Load() != want && !stop.Load() {
					sched.Pause()
				}
				pong.Store(want)
			}
			return nil
		})
	}()
	err = onCPU(cpus[0], func() (err error) {
		nanos, err = trip(ping, pong)
		return err
	})
	stop.Store(true)
	return nanos, errors.Join(err, <-ended)
}

// trip makes the round trips.
func trip(ping, pong *atomic.Uint64) (float64, error) {
	var times [lineGroups]float64
	i, giveUp := uint64(0), sched.Now()+int64(lineBound)
	again := func(trips int) error {
		for range trips {
			i++
			ping.Store(i)
			for spins := 1; pong.Load() != i; spins++ {
				sched.Pause()
				if spins%(1<<12) == 0 && sched.Now() > giveUp {
					return fmt.Errorf("%w within %v: are both CPUs this process's?", errLine, lineBound)
				}
			}
		}
		return nil
	}
	if err := again(lineWarmup); err != nil {
		return 0, err
	}
	for g := range times {
		begin := sched.Now()
		if err := again(lineTrips); err != nil {
			return 0, err
		}
		times[g] = float64(sched.Now()-begin) / lineTrips
	}
	slices.Sort(times[:])
	return times[lineGroups/2], nil
}
