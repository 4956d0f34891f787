//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"sync/atomic"
	"time"
)

// pulse is a clock that only runs while this process does: where the host stops
// it, or lets it wait for its turn, no time passes. What is measured by it is not
// short of chances on a busy host, only later.
type pulse struct{ beats atomic.Int64 }

const pulseBeat = 10 * time.Millisecond

func startPulse(ctx context.Context) *pulse {
	p := &pulse{}
	go func() {
		for ; ctx.Err() == nil; p.beats.Add(1) {
			time.Sleep(pulseBeat)
		}
	}()
	return p
}

// elapsed is how long the process has run since.
func (p *pulse) elapsed() time.Duration { return time.Duration(p.beats.Load()) * pulseBeat }
