package serial

import (
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/link"
)

// Options are what both ends of a line need not agree on beforehand: each says
// its own, and the lesser counts. The zero value is the default for a clean
// line.
type Options struct {
	// MaxPayload is the most payload bytes of one vesicle that this side
	// takes; default 1024, at least [link.MinFragmentPayload], at most
	// [MaxPayload]. Small frames are hit more rarely and let urgent ones by;
	// large ones carry less overhead.
	MaxPayload int

	// Window is how many vesicles may be under way unacknowledged, at most
	// [MaxWindow]. With it, what the line loses is sent again, and vesicles
	// arrive once and in order. 0, the default, is for clean lines: nothing
	// is kept, acknowledged or repeated. It is on if both sides want it.
	Window int

	// Buffer is how many bytes of the line each direction may hold in this
	// process; default 16 KiB, and at least four of the largest frames. Divide
	// by the line's bytes a second for the time that this is.
	Buffer int

	// KeepAlive is after how long a silence of the peer it is asked whether
	// it lives; after three times of that without an answer the link ends
	// with [link.ErrPeerGone]. 0, the default, never asks: a device that is
	// unplugged, a PTY or a socket that is closed is noticed without it, a
	// cable that is cut is not. The peer must poll its link to answer.
	KeepAlive time.Duration

	// Noisy says that the line may lose and change bytes, whatever it looks
	// like. Without it, sockets and PTYs count as clean, and UARTs never do.
	Noisy bool
}

const (
	// MaxWindow is the greatest [Options].Window: as many vesicles as one
	// acknowledgement can speak of.
	MaxWindow = 32

	defaultMaxPayload = 1024
	defaultBuffer     = 16 << 10
	maxBuffer         = 16 << 20
)

// settle returns the options with defaults filled in.
func (o *Options) settle() (Options, error) {
	var s Options
	if o != nil {
		s = *o
	}
	if s.MaxPayload == 0 {
		s.MaxPayload = defaultMaxPayload
	}
	if s.Buffer == 0 {
		s.Buffer = defaultBuffer
	}
	switch {
	case s.MaxPayload < link.MinFragmentPayload || s.MaxPayload > MaxPayload:
		return s, fmt.Errorf("serial: Options.MaxPayload is %d; it must be %d to %d bytes", s.MaxPayload, link.MinFragmentPayload, MaxPayload)
	case s.Window < 0 || s.Window > MaxWindow:
		return s, fmt.Errorf("serial: Options.Window is %d; it must be 0 (off) to %d", s.Window, MaxWindow)
	case s.Buffer < 0 || s.Buffer > maxBuffer:
		return s, fmt.Errorf("serial: Options.Buffer is %d; it must be at most %d bytes", s.Buffer, maxBuffer)
	case s.KeepAlive < 0:
		return s, errors.New("serial: Options.KeepAlive is negative; 0 turns it off")
	}
	s.Buffer = max(s.Buffer, 4*FrameBound(s.MaxPayload))
	return s, nil
}
