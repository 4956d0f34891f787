package can

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
)

// connect returns both ends of a new link.
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
	return n
}

// owned is a link whose node ends with it, since the suite knows no nodes.
type owned struct{ *Conn }

func (o owned) Close() error { return errors.Join(o.Conn.Close(), o.node.Close()) }

func (c *Conn) away() bool {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	return c.stage != stageOpen || c.out.away()
}

// conforms runs the suite between nodes 1 and 2 of buses that open makes.
func conforms(t *testing.T, classic bool, quick Config, open func(t testing.TB) (a, b, third Bus)) {
	quick.Classic = classic
	others := map[link.Link]Bus{}
	linktest.Run(t, linktest.Harness{
		Open: func(t testing.TB) (link.Link, link.Link) {
			busA, busB, third := open(t)
			ca, cb := quick, quick
			ca.Node, cb.Node = 1, 2
			c, d := connect(t, newNode(t, busA, ca), newNode(t, busB, cb))
			if c.FD() == classic || d.FD() == classic {
				t.Errorf("FD frames are used: %t and %t, want %t", c.FD(), d.FD(), !classic)
			}
			others[owned{d}] = third
			return owned{c}, owned{d}
		},
		Kill: func(t testing.TB, peer link.Link) {
			// Nothing is said, and nothing heard any more. What was flushed
			// has had the time to travel: a process that dies takes what its
			// node still held along.
			n := peer.(owned).node
			for c := peer.(owned).Conn; !c.away(); time.Sleep(time.Millisecond) {
			}
			n.lock()
			defer n.mu.Unlock()
			n.fail(errors.New("killed"))
		},
		Garbage: func(t testing.TB, rng *rand.Rand, a, b link.Link) {
			third := others[b]
			for range 1 + rng.IntN(6) {
				f := Frame{ID: MakeID(uint8(rng.IntN(8)), Class(rng.IntN(8)), 1, 2, uint16(rng.IntN(512)))}
				f.Len = uint8(rng.IntN(9))
				for i := range f.Bytes() {
					f.Data[i] = byte(rng.Uint32())
				}
				if err := third.Send(&f); err != nil {
					t.Error(err)
				}
			}
		},
		CanPark: true, MaxTotal: 1 << 20,
	})
}

func TestConformanceOnModel(t *testing.T) {
	for _, v := range []struct {
		name    string
		classic bool
	}{{"classic", true}, {"FD", false}} {
		t.Run(v.name, func(t *testing.T) {
			quick := Config{Heartbeat: 25 * time.Millisecond, Dead: 400 * time.Millisecond}
			conforms(t, v.classic, quick, func(testing.TB) (a, b, third Bus) {
				m := NewModel(ModelConfig{FD: true})
				return m.Open(), m.Open(), m.Open()
			})
		})
	}
}
