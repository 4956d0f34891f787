package serial

import (
	"fmt"
	"time"

	"github.com/cell-runtime/cell/link"
)

// keepAlive asks a silent peer whether it lives, and gives it up when so many
// questions went unanswered. It belongs to the receiver; the zero value never
// asks.
type keepAlive struct {
	every time.Duration
	calls uint
	since time.Time // of the silence
	asked int       // since then
	last  time.Time // when it was asked last, or the silence began
	seen  uint64    // whole frames, when it was looked at last
}

const (
	questions   = 3
	callsPerUse = 64 // polls without a vesicle between two looks at the clock
)

// due reports whether a receiver that polls and polls should look.
func (k *keepAlive) due() bool {
	if k.every == 0 {
		return false
	}
	k.calls++
	return k.calls%callsPerUse == 0
}

// look returns whether to ask now, or that the peer is to be given up. frames
// is how many whole frames have come.
func (k *keepAlive) look(frames uint64) (ask bool, err error) {
	if k.every == 0 {
		return false, nil
	}
	now := time.Now()
	if k.since.IsZero() || frames != k.seen {
		k.since, k.seen, k.asked, k.last = now, frames, 0, now
	}
	// Each question has its time to be answered, however long this side has not
	// looked, as while its process was stopped.
	if now.Sub(k.last) < k.every {
		return false, nil
	}
	if k.asked == questions {
		silence := now.Sub(k.since).Round(time.Millisecond)
		return false, fmt.Errorf("%w: silent for %v though asked %d times whether it lives (Options.KeepAlive)", link.ErrPeerGone, silence, questions)
	}
	k.asked, k.last = k.asked+1, now
	return true, nil
}

// next is when to look again; zero means never.
func (k *keepAlive) next() time.Time {
	if k.every == 0 {
		return time.Time{}
	}
	return k.last.Add(k.every)
}
