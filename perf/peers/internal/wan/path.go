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
	Queue   int           // packets that wait in front of it, however long; more are dropped
}

// lane is one direction.
type lane struct {
	path Path
	from int // descriptors of the devices
	to   int

	leaves []time.Time // when the slowest part has sent each packet that it was given, in order
	held   chan packet
	ended  sync.WaitGroup // take and give

	carried, lost, early, overflowed atomic.Int64
}

type packet struct {
	at    time.Time
	bytes []byte
}

// Counts are what happened to packets, of both directions together.
type Counts struct{ Carried, Lost, Early, Overflowed int64 }

// leastPacket is the length of a packet with nothing in it: an acknowledgement.
const leastPacket = 40

func newLane(p Path, from, to int) *lane {
	return &lane{path: p, from: from, to: to, held: make(chan packet, p.Queue+int(p.Delay.Seconds()*p.Mbit*1e6/8/leastPacket))}
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
	leaves, ok := l.enqueue(len(b), time.Now())
	if !ok {
		l.overflowed.Add(1)
		return
	}
	if rand.Float64() < l.path.Reorder {
		l.early.Add(1)
		_, _ = unix.Write(l.to, b)
		return
	}
	select {
	case l.held <- packet{leaves.Add(l.path.Delay), append([]byte(nil), b...)}:
		l.carried.Add(1)
	default:
		l.overflowed.Add(1)
	}
}

// enqueue returns when a packet of that size has passed the slowest part, or false
// if too many wait there.
func (l *lane) enqueue(size int, now time.Time) (leaves time.Time, ok bool) {
	gone := 0
	for gone < len(l.leaves) && !l.leaves[gone].After(now) {
		gone++
	}
	l.leaves = append(l.leaves[:0], l.leaves[gone:]...)
	if len(l.leaves) >= l.path.Queue {
		return leaves, false
	}
	leaves = now
	if n := len(l.leaves); n > 0 {
		leaves = l.leaves[n-1]
	}
	leaves = leaves.Add(time.Duration(float64(size) * 8 / l.path.Mbit * 1e3))
	l.leaves = append(l.leaves, leaves)
	return leaves, true
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
