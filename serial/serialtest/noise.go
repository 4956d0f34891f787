// Package serialtest has a bad line for tests of whatever speaks over serial
// lines: bytes on their way are flipped, dropped, doubled and invented.
package serialtest

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Faults says how a line fails: each field is the probability, for each byte,
// of that fault.
type Faults struct {
	Flip      float64 // one bit of the byte is turned
	Drop      float64 // the byte is lost
	Duplicate float64 // it comes twice
	Insert    float64 // a random byte comes before it
}

// Every returns faults of all four kinds, each with probability p.
func Every(p float64) Faults { return Faults{p, p, p, p} }

// Noise applies faults to bytes. It belongs to one goroutine.
type Noise struct {
	faults Faults
	rng    *rand.Rand
	count  atomic.Uint64
	next   int // bytes before the next fault
	quiet  atomic.Bool
}

// NewNoise returns a source of faults that a seed determines.
func NewNoise(f Faults, seed uint64) *Noise {
	n := &Noise{faults: f, rng: rand.New(rand.NewPCG(seed, 0x5e71a1))}
	n.draw()
	return n
}

// Count returns how many faults there have been. It may be called from any
// goroutine.
func (n *Noise) Count() uint64 { return n.count.Load() }

func (f *Faults) sum() float64 { return f.Flip + f.Drop + f.Duplicate + f.Insert }

// draw chooses the way to the next fault, so that clean bytes cost nothing.
func (n *Noise) draw() {
	p := n.faults.sum()
	if p <= 0 {
		n.next = 1 << 62
		return
	}
	n.next = int(n.rng.ExpFloat64() / p)
}

// Append appends b to out as it comes through the line.
func (n *Noise) Append(out, b []byte) []byte {
	if n.quiet.Load() {
		return append(out, b...)
	}
	for len(b) > n.next {
		out = append(out, b[:n.next]...)
		out = n.fault(out, b[n.next])
		b = b[n.next+1:]
		n.draw()
	}
	n.next -= len(b)
	return append(out, b...)
}

func (n *Noise) fault(out []byte, b byte) []byte {
	n.count.Add(1)
	f := &n.faults
	switch x := n.rng.Float64() * f.sum(); {
	case x < f.Flip:
		return append(out, b^1<<n.rng.IntN(8))
	case x < f.Flip+f.Drop:
		return out
	case x < f.Flip+f.Drop+f.Duplicate:
		return append(out, b, b)
	}
	return append(out, byte(n.rng.Uint32()), b)
}

// SocketPair returns the two ends of a byte stream within this process.
func SocketPair() (a, b *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket pair")
		c, e := net.FileConn(f)
		err = errors.Join(err, e, f.Close())
		if e == nil {
			ends[i] = c.(*net.UnixConn)
		}
	}
	if err != nil {
		for _, c := range ends {
			if c != nil {
				_ = c.Close()
			}
		}
		return nil, nil, err
	}
	return ends[0], ends[1], nil
}

// Line is a bad line between two streams.
type Line struct {
	ends   [2]io.ReadWriteCloser
	noises [2]*Noise
	done   sync.WaitGroup
	once   sync.Once
}

// Join carries bytes between a and b, with faults, until either ends or Close
// is called; then both are closed.
func Join(a, b io.ReadWriteCloser, f Faults, seed uint64) *Line {
	l := &Line{ends: [2]io.ReadWriteCloser{a, b}}
	l.noises = [2]*Noise{NewNoise(f, seed), NewNoise(f, seed+1)}
	for i := range 2 {
		l.done.Go(func() {
			defer l.hangUp()
			l.carry(l.ends[i], l.ends[1-i], l.noises[i])
		})
	}
	return l
}

func (l *Line) carry(from io.Reader, to io.Writer, n *Noise) {
	in, out := make([]byte, 4096), make([]byte, 0, 8192)
	for {
		k, err := from.Read(in)
		if k > 0 {
			out = n.Append(out[:0], in[:k])
			if _, e := to.Write(out); e != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *Line) hangUp() {
	l.once.Do(func() {
		_ = l.ends[0].Close()
		_ = l.ends[1].Close()
	})
}

// Faults returns how many faults there have been in either direction.
func (l *Line) Faults() uint64 { return l.noises[0].Count() + l.noises[1].Count() }

// Quiet ends the faults: from now on the line carries what it is given.
func (l *Line) Quiet() {
	l.noises[0].quiet.Store(true)
	l.noises[1].quiet.Store(true)
}

// Close ends the line and waits until nothing is carried any more.
func (l *Line) Close() {
	l.hangUp()
	l.done.Wait()
}
