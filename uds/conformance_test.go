package uds

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
)

func TestConformance(t *testing.T) {
	for _, p := range paths {
		t.Run(p.name, func(t *testing.T) {
			linktest.Run(t, linktest.Harness{
				Open: func(t testing.TB) (a, b link.Link) {
					l := listen(t, p.opts)
					x, y := connected(t, l, p.opts)
					if err := l.Close(); err != nil { // the connection lives on
						t.Error(err)
					}
					return x, y
				},
				// What a death looks like: the kernel closes the socket, and
				// nobody says farewell. kill_test.go has real deaths.
				Kill: func(t testing.TB, peer link.Link) {
					c := peer.(*Conn)
					c.mu.Lock()
					c.ended = true
					c.mu.Unlock()
					if err := unix.Shutdown(c.fd, unix.SHUT_RDWR); err != nil {
						t.Error(err)
					}
				},
				Garbage: func(t testing.TB, rng *rand.Rand, a, b link.Link) {
					bytes := make([]byte, 1+rng.IntN(100))
					for i := range bytes {
						bytes[i] = byte(rng.Uint32())
					}
					if _, e := send(b.(*Conn).fd, bytes); e != 0 {
						t.Error(e)
					}
				},
				CanPark: true,
			})
		})
	}
}
