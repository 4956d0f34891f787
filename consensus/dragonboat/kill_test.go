//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// TestWritesGoOnAfterTheLeaderIsKilled kills the leader again and again, with
// default times, and measures for how long nothing is written. Two kills in
// every run of the tests say that it works; fifty with CELL_SOAK make the figure.
func TestWritesGoOnAfterTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	t.Run("and the network hides it", func(t *testing.T) { t.Parallel(); killLeaders(t, false) })
	t.Run("and its host says so", func(t *testing.T) { t.Parallel(); killLeaders(t, true) })
}

func killLeaders(t *testing.T, direct bool) {
	kills := 2
	if os.Getenv("CELL_SOAK") != "" {
		kills = 50
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := startProcesses(t, ctx, setup{tune: func(_ int, c *memberConfig) { c.Defaults, c.Direct = true, direct }})
	// A write is begun every few milliseconds, through one member after the other:
	// what was on its way to a leader that died is lost, and holds up nothing else.
	var value atomic.Uint64
	var latest atomic.Int64 // when a write began that was answered
	go func() {
		for n := 0; ctx.Err() == nil; n++ {
			m := p.members[n%len(p.members)]
			go func() {
				begun := time.Now().UnixNano()
				if _, a := m.do(call{write: true, value: value.Add(1)}, 1); a == answered && latest.Load() < begun {
					latest.Store(begun)
				}
			}()
			time.Sleep(5 * time.Millisecond)
		}
	}()
	wait := func(since time.Time, what string) time.Duration {
		for deadline := time.Now().Add(time.Minute); latest.Load() <= since.UnixNano(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
		return time.Since(since)
	}
	wait(time.Now(), "nothing is written at first")
	var gaps []time.Duration
	for range kills {
		leader, err := p.leader()
		if err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		p.members[leader].kill()
		gaps = append(gaps, wait(killed, "nothing is written after the leader was killed"))
		p.members[leader].start()
		time.Sleep(700 * time.Millisecond) // it catches up
	}
	slices.Sort(gaps)
	t.Logf("%d kills of the leader: writes go on after p50 %v, p99 %v, at most %v", len(gaps),
		gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)*99/100].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond))
}

// leader asks the members who leads.
func (p *processes) leader() (int, error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for i, m := range p.members {
			if leads, a := m.do(call{}, leaderKey); a == answered && leads == 1 {
				return i, nil
			}
		}
	}
	return 0, errors.New("nobody leads")
}
