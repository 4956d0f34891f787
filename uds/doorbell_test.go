package uds

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// wakes reports whether whoever sleeps on c is woken at once.
func wakes(c *Conn) bool {
	var set []unix.PollFd
	for _, fd := range c.WaitFDs(nil) {
		set = append(set, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	for {
		if n, err := unix.Poll(set, 0); !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// What a peer can do once, to have a side that sleeps wake again and again for
// nothing: either the descriptors become silent, or the connection is over.
func TestNobodySpinsForAHostilePeer(t *testing.T) {
	write := func(b []byte, flags int) func(t *testing.T, fd int) {
		return func(t *testing.T, fd int) {
			if err := unix.Sendto(fd, b, flags|unix.MSG_DONTWAIT, nil); err != nil {
				t.Skip(err) // MSG_OOB may be left out of a kernel
			}
		}
	}
	shutdown := func(how int) func(t *testing.T, fd int) {
		return func(t *testing.T, fd int) {
			if err := unix.Shutdown(fd, how); err != nil {
				t.Fatal(err)
			}
		}
	}
	said := farewell(farewellClosed)
	for _, c := range []struct {
		name string
		harm func(t *testing.T, fd int)
		ends error // nil: the connection goes on
	}{
		{"one ring", write([]byte{ringByte}, 0), nil},
		{"as many rings as are heard at once", write(make1s(mostRings), 0), nil},
		{"rings without end", write(make1s(100_000), 0), link.ErrCorrupt},
		{"one byte out of band", write([]byte{ringByte}, unix.MSG_OOB), nil},
		{"rings and other bytes", write([]byte{ringByte, ringByte, 7}, 0), link.ErrCorrupt},
		{"half a farewell", write(said[:10], 0), link.ErrCorrupt},
		{"a farewell, and the socket stays open", write(said[:], 0), link.ErrPeerGone},
		{"a farewell behind rings", write(append(make1s(5), said[:]...), 0), link.ErrPeerGone},
		{"an end of its writing", shutdown(unix.SHUT_WR), link.ErrPeerGone},
		{"an end of its reading", shutdown(unix.SHUT_RD), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t, Options{Path: PathRing}, Options{Path: PathRing})
			if !b.Arm() {
				t.Fatal("nothing there, but Arm says no")
			}
			c.harm(t, a.fd)
			turns := 0
			for wakes(b) && turns < 10 {
				b.Disarm()
				if !b.Arm() {
					break // Poll says why
				}
				turns++
			}
			if turns == 10 {
				t.Fatal("whoever sleeps wakes for ever")
			}
			err := b.CheckPeer()
			if c.ends == nil && err != nil || !errors.Is(err, c.ends) {
				t.Errorf("the connection says %v", err)
			}
			if err != nil && !wakes(b) {
				t.Error("the connection is over, and whoever sleeps on it stays asleep")
			}
		})
	}
}

func make1s(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = ringByte
	}
	return b
}
