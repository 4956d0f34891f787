package bench

import (
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/sched"
)

// The physical limit of a round trip: one word, alone in its cache line, goes
// there and another comes back. Both sides spin with the same pause as the
// ring's users do, and the clock is read as often.

// lineEnd is the word that ends the peer's loop.
const lineEnd = ^uint64(0)

func answerLine(s *shared) {
	ping, pong := s.word(sharedPing), s.word(sharedPong)
	for want := uint64(1); ; want++ {
		got := atomic.LoadUint64(ping)
		for got != want && got != lineEnd {
			sched.Pause()
			got = atomic.LoadUint64(ping)
		}
		if got == lineEnd {
			return
		}
		storeWord(pong, want)
	}
}

// callLine measures round trips on the bare line.
func callLine(s *shared, gone *atomic.Bool, warmup, length time.Duration) (report.Sample, error) {
	ping, pong := s.word(sharedPing), s.word(sharedPong)
	i := uint64(0)
	run := func(until uint64, rec *recorder) error {
		t := sched.Ticks()
		for {
			i++
			storeWord(ping, i)
			for spins := 1; atomic.LoadUint64(pong) != i; spins++ {
				sched.Pause()
				if spins%spinsPerLook == 0 && gone.Load() {
					return errPeer
				}
			}
			now := sched.Ticks()
			rec.ticks(now - t)
			if past(now, until) {
				return nil
			}
			t = now
		}
	}
	if warmup > 0 {
		if err := run(after(warmup), newRecorder()); err != nil {
			return report.Sample{}, err
		}
	}
	rec, begin, first := newRecorder(), sched.Now(), i
	if err := run(after(length), rec); err != nil {
		return report.Sample{}, err
	}
	elapsed := sched.Now() - begin
	storeWord(ping, lineEnd)
	return report.Sample{Times: rec.times(), Count: i - first, Bytes: (i - first) * 8, Elapsed: time.Duration(elapsed)}, nil
}
