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
		k.since, k.seen, k.asked = now, frames, 0
	}
	silence := now.Sub(k.since)
	if silence < time.Duration(k.asked+1)*k.every {
		return false, nil
	}
	if k.asked == questions {
		return false, fmt.Errorf("%w: silent for %v though asked %d times whether it lives (Options.KeepAlive)", link.ErrPeerGone, silence.Round(time.Millisecond), questions)
	}
	k.asked++
	return true, nil
}

// next is when to look again; zero means never.
func (k *keepAlive) next() time.Time {
	if k.every == 0 {
		return time.Time{}
	}
	return k.since.Add(time.Duration(k.asked+1) * k.every)
}
