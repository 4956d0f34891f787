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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
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

// buses are what a link of the suite runs over: the nodes' own, and one for
// whoever disturbs them.
type buses struct {
	a, b, third          Bus
	numberOfA, numberOfB NodeID
}

// conforms runs the suite over buses that open makes.
func conforms(t *testing.T, quick Config, total int, open func(t testing.TB) buses) {
	others := map[link.Link]buses{}
	linktest.Run(t, linktest.Harness{
		Settle: quick.Dead / 8, // longer than a loaded machine stops one of the nodes
		Open: func(t testing.TB) (link.Link, link.Link) {
			x := open(t)
			ca, cb := quick, quick
			ca.Node, cb.Node = x.numberOfA, x.numberOfB
			c, d := connect(t, newNode(t, x.a, ca), newNode(t, x.b, cb))
			if c.FD() == quick.Classic || d.FD() == quick.Classic {
				t.Errorf("FD frames are used: %t and %t, want %t", c.FD(), d.FD(), !quick.Classic)
			}
			others[owned{d}] = x
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
			x := others[b]
			for range 1 + rng.IntN(6) {
				f := Frame{ID: MakeID(uint8(rng.IntN(8)), Class(rng.IntN(8)), x.numberOfA, x.numberOfB, uint16(rng.IntN(512)))}
				f.Len = uint8(rng.IntN(9))
				for i := range f.Bytes() {
					f.Data[i] = byte(rng.Uint32())
				}
				if err := x.third.Send(&f); err != nil {
					t.Error(err)
				}
			}
		},
		CanPark: true, MaxTotal: total,
	})
}

func TestConformanceOnModel(t *testing.T) {
	for _, v := range []struct {
		name    string
		classic bool
	}{{"classic", true}, {"FD", false}} {
		t.Run(v.name, func(t *testing.T) {
			quick := Config{Classic: v.classic, Heartbeat: 20 * time.Millisecond, Dead: 700 * time.Millisecond}
			conforms(t, quick, 1<<20, func(testing.TB) buses {
				m := NewModel(ModelConfig{FD: true})
				return buses{m.Open(), m.Open(), m.Open(), 1, 2}
			})
		})
	}
}
