package quic

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc/rpctest"
)

// pair is two endpoints whose links share a connection, as they do in life.
type pair struct{ a, b *node }

func newPair(t testing.TB) *pair {
	o := &Options{IdleTimeout: 20 * time.Second, StreamWindow: 1 << 20, ConnectionWindow: 2 << 20}
	return &pair{listen(t, 1, o, 2), listen(t, 2, o, 1)}
}

// peers finds the other end of a link.
type peers map[link.Link]*Link

func (p *pair) open(t testing.TB, o *LinkOptions, ends peers) (a, b link.Link) {
	x, y := linked(t, p.a, p.b, o)
	ends[x], ends[y] = y, x
	return x, y
}

// arrived waits until what end has flushed is there. What a process that dies
// has flushed and not sent is lost, whatever carries it, and the suite asks for
// what had left.
func arrived(t testing.TB, ends peers, end link.Link) {
	other, want := ends[end], end.SendStats().Vesicles
	eventually(t, "what was flushed arrives", func() bool {
		other.receive.mu.Lock()
		defer other.receive.mu.Unlock()
		return other.receive.closed || other.receive.in.Stats().Records >= want
	})
}

// kill ends a connection without a farewell of its links.
func kill(t testing.TB, ends peers, end link.Link) {
	arrived(t, ends, end)
	end.(*Link).carrier.(*quicLink).conn.end(codeBreach, "killed by a test")
}

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name      string
		opts      LinkOptions
		unordered bool
	}{
		{"one lane", LinkOptions{Lanes: 1}, false},
		{"lanes", LinkOptions{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, ends := newPair(t), peers{}
			linktest.Run(t, linktest.Harness{
				Open: func(t testing.TB) (a, b link.Link) { return p.open(t, &c.opts, ends) },
				Kill: func(t testing.TB, peer link.Link) { kill(t, ends, peer) },
				Garbage: func(t testing.TB, rng *rand.Rand, a, b link.Link) {
					bytes := make([]byte, 20+rng.IntN(100))
					for i := range bytes {
						bytes[i] = byte(rng.Uint32())
					}
					n := &b.(*Link).lanes[0]
					if !b.(*Link).give(0, nil) || n.stream.TryWriteAll(bytes) != nil {
						t.Error("the garbage was not sent")
					}
				},
				CanPark: true, Unordered: c.unordered, Allocates: true,
				Settle: 150 * time.Millisecond, MaxTotal: 8 << 20, Timeout: 20 * time.Second,
			})
		})
	}
}

func TestRPC(t *testing.T) {
	for _, c := range []struct {
		name string
		opts LinkOptions
	}{
		{"one lane", LinkOptions{Lanes: 1}},
		{"lanes", LinkOptions{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, ends := newPair(t), peers{}
			rpctest.Run(t, rpctest.Harness{
				Open: func(t testing.TB) (server, client link.Link) { return p.open(t, &c.opts, ends) },
			})
		})
	}
}
