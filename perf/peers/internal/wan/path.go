package wan

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Path is how packets travel, the same both ways.
type Path struct {
	Delay   time.Duration // one way
	Loss    float64       // share of packets that never arrive
	Reorder float64       // share that doesn't wait, and so overtakes others: netem's "reorder"
	Mbit    float64       // of the slowest part, per direction
	Queue   int           // packets that wait in front of it; more are dropped
}

// lane is one direction.
type lane struct {
	path Path
	from int // descriptors of the devices
	to   int

	mu   sync.Mutex
	free time.Time // when the slowest part has sent all that it was given
	held chan packet

	carried, lost, early, overflowed atomic.Int64
}

type packet struct {
	at    time.Time
	bytes []byte
}

// Counts are what happened to packets, of both directions together.
type Counts struct{ Carried, Lost, Early, Overflowed int64 }

func newLane(p Path, from, to int) *lane {
	return &lane{path: p, from: from, to: to, held: make(chan packet, p.Queue+int(p.Delay.Seconds()*p.Mbit*1e6/8/100))}
}

// take reads packets from one host until its device is closed.
func (l *lane) take() {
	defer close(l.held)
	b := make([]byte, 64<<10)
	for {
		n, err := unix.Read(l.from, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		if n < 20 || b[0]>>4 != 4 {
			continue // neighbour discovery of IPv6
		}
		l.pass(b[:n])
	}
}

func (l *lane) pass(b []byte) {
	if rand.Float64() < l.path.Loss {
		l.lost.Add(1)
		return
	}
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	size := time.Duration(float64(len(b)) * 8 / l.path.Mbit * 1e3)
	if l.free.Sub(now) > time.Duration(l.path.Queue)*size {
		l.overflowed.Add(1)
		return
	}
	l.free = l.free.Add(size)
	if rand.Float64() < l.path.Reorder {
		l.early.Add(1)
		_, _ = unix.Write(l.to, b)
		return
	}
	select {
	case l.held <- packet{l.free.Add(l.path.Delay), append([]byte(nil), b...)}:
		l.carried.Add(1)
	default:
		l.overflowed.Add(1)
	}
}

// give writes packets to the other host when their time has come. The thread is
// its own: the runtime's sleep is a millisecond late.
func (l *lane) give() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	for p := range l.held {
		for wait := time.Until(p.at); wait > 0; wait = time.Until(p.at) {
			spec := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&spec, nil)
		}
		_, _ = unix.Write(l.to, p.bytes)
	}
}
