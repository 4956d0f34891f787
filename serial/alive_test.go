package serial

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cell-runtime/cell/link"
)

// A side that has not looked for a while, as when its process was stopped, asks its
// peer as often as any other, and gives it as long to answer each time.
func TestASideThatWasStoppedGivesItsPeerTime(t *testing.T) {
	const every = 20 * time.Millisecond
	for name, stopped := range map[string]time.Duration{"it looks in time": every, "it was stopped": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := keepAlive{every: every}
				look := func(wantAsk, wantGone bool) {
					t.Helper()
					if ask, err := k.look(7); ask != wantAsk || errors.Is(err, link.ErrPeerGone) != wantGone {
						t.Fatalf("asks %t, %v; want %t, and that it is gone: %t", ask, err, wantAsk, wantGone)
					}
				}
				look(false, false)
				time.Sleep(stopped)
				for range questions {
					look(true, false)
					look(false, false) // at once: there was no time to answer
					if until := time.Until(k.next()); until != every {
						t.Errorf("the next look is due in %v, want %v", until, every)
					}
					time.Sleep(every)
				}
				look(false, true)
			})
		})
	}
}
