package can

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
)

// pair connects two nodes and returns both ends of a link.
func connect(t testing.TB, a, b *Node) (x, y *Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	x, err := a.Dial(ctx, b.config.Node)
	if err != nil {
		t.Fatal(err)
	}
	y, err = b.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return x, y
}

func newNode(t testing.TB, bus Bus, c Config) *Node {
	t.Helper()
	n, err := NewNode(bus, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// harness runs the suite between two nodes. mute makes a node dead to the
// others.
func harness(a, b *Node, garbage func(f *Frame)) linktest.Harness {
	return linktest.Harness{
		Open: func(t testing.TB) (x, y link.Link) {
			c, d := connect(t, a, b)
			return c, d
		},
		Kill: func(t testing.TB, peer link.Link) {
			c := peer.(*Conn)
			c.node.mu.Lock()
			defer c.node.mu.Unlock()
			c.shut.Store(true)
			c.detach()
		},
		Garbage: func(_ testing.TB, rng *rand.Rand, _, _ link.Link) {
			for range 1 + rng.IntN(6) {
				f := Frame{ID: MakeID(uint8(rng.IntN(8)), Class(rng.IntN(8)), a.config.Node, b.config.Node, uint16(rng.IntN(512)))}
				f.Len = uint8(rng.IntN(9))
				for i := range f.Bytes() {
					f.Data[i] = byte(rng.Uint32())
				}
				garbage(&f)
			}
		},
		CanPark: true, MaxTotal: 1 << 20,
	}
}

func TestConformanceOnModel(t *testing.T) {
	for _, v := range []struct {
		name string
		fd   bool
	}{{"classic", false}, {"FD", true}} {
		t.Run(v.name, func(t *testing.T) {
			m := NewModel(ModelConfig{FD: v.fd})
			quick := Config{Heartbeat: 50 * time.Millisecond, Dead: 400 * time.Millisecond}
			ca, cb := quick, quick
			ca.Node, cb.Node = 1, 2
			a, b := newNode(t, m.Open(), ca), newNode(t, m.Open(), cb)
			third := m.Open()
			linktest.Run(t, harness(a, b, func(f *Frame) { third.Send(f) }))
		})
	}
}
