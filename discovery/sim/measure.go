package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cell-runtime/cell/discovery"
)

// Spread is what was measured several times.
type Spread []time.Duration

// At returns the least time that a share p of the measurements did not exceed.
func (s Spread) At(p float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	return s[min(len(s)-1, int(p*float64(len(s))))]
}

// Watch notes when the nodes of a world find each other, and find each other
// gone, from the events that they are told.
type Watch struct {
	w     *World
	about map[int]*Spread // times of events about a node that is observed
	since map[int]time.Duration
	gone  bool
	pairs int
}

// NewWatch observes a world from now on.
func NewWatch(w *World) *Watch {
	x := &Watch{w: w, about: make(map[int]*Spread), since: make(map[int]time.Duration)}
	w.OnEvent = x.event
	return x
}

func (x *Watch) event(at, about *Node, e *discovery.Event) {
	if s := x.about[about.Number]; s != nil && e.Kind.Gone() == x.gone && e.Kind != discovery.Changed {
		*s = append(*s, x.w.Now()-x.since[about.Number])
	}
	if e.Kind == discovery.Found {
		x.pairs++
	} else if e.Kind.Gone() {
		x.pairs--
	}
}

// observe collects when nodes find a node, or find it gone, from now on.
func (x *Watch) observe(n *Node, gone bool) *Spread {
	s := new(Spread)
	x.gone = gone
	x.about = map[int]*Spread{n.Number: s}
	x.since[n.Number] = x.w.Now()
	return s
}

// StartAll starts all nodes within spread and returns how long after the last
// start everybody knew everybody, or false if limit was not enough.
func (x *Watch) StartAll(spread, limit time.Duration) (time.Duration, bool, error) {
	n := len(x.w.Nodes)
	for _, node := range x.w.Nodes {
		if err := x.w.Start(node); err != nil {
			return 0, false, err
		}
		x.w.Run(spread/time.Duration(n), nil)
	}
	begun := x.w.Now()
	ok := x.w.Run(limit, func() bool { return x.pairs >= n*(n-1) })
	return x.w.Now() - begun, ok, nil
}

// Join starts one more node and returns when the others found it, and when it
// had found all.
func (x *Watch) Join(limit time.Duration) (known Spread, knows time.Duration, err error) {
	others := x.w.up()
	n := x.w.Add()
	s := x.observe(n, false)
	begun := x.w.Now()
	if err := x.w.Start(n); err != nil {
		return nil, 0, err
	}
	x.w.Run(limit, func() bool {
		if knows == 0 && n.Stats().Alive >= others {
			knows = x.w.Now() - begun
		}
		return knows != 0 && len(*s) >= others
	})
	return *s, knows, nil
}

// Kill kills a node and returns when the others found it gone.
func (x *Watch) Kill(n *Node, limit time.Duration) Spread {
	s := x.observe(n, true)
	x.w.Kill(n)
	others := x.w.up()
	x.w.Run(limit, func() bool { return len(*s) >= others })
	return *s
}

// Partition cuts the world in two for a time and returns how long after its end
// everybody knew everybody again.
func (x *Watch) Partition(d, limit time.Duration) (time.Duration, bool) {
	for i, n := range x.w.Nodes {
		n.Side = i % 2
	}
	x.w.Run(d, nil)
	for _, n := range x.w.Nodes {
		n.Side = 0
	}
	begun, up := x.w.Now(), x.w.up()
	ok := x.w.Run(limit, func() bool { return x.w.alive() == up*(up-1) })
	return x.w.Now() - begun, ok
}

// up returns how many nodes are.
func (w *World) up() (n int) {
	for _, x := range w.Nodes {
		if x.Up {
			n++
		}
	}
	return n
}

// alive returns how many living nodes all living nodes believe in, together.
func (w *World) alive() (n int) {
	for _, x := range w.Nodes {
		if x.Up {
			n += x.machine.Stats().Alive
		}
	}
	return n
}

// Any returns one of the nodes that are up, drawn by the world's seed.
func (w *World) Any() *Node {
	for {
		if n := w.Nodes[w.random.IntN(len(w.Nodes))]; n.Up {
			return n
		}
	}
}

// Random returns the world's source of randomness, for scenarios.
func (w *World) Random() *rand.Rand { return w.random }

// Rate is the traffic at a node.
type Rate struct {
	Received, Sent float64 // bytes a second and node, with headers
	PerPeer        float64 // received, for each peer heard
}

// Steady returns the mean traffic over d.
func (w *World) Steady(d time.Duration) Rate {
	before := w.counted
	w.Run(d, nil)
	return w.RateSince(before, d)
}

// RateSince returns the mean traffic over the last d, since when counts were as
// they are given.
func (w *World) RateSince(before Counts, d time.Duration) Rate {
	n := float64(w.up())
	per := d.Seconds() * n
	r := Rate{Received: float64(w.counted.Received-before.Received) / per, Sent: float64(w.counted.Sent-before.Sent) / per}
	r.PerPeer = r.Received / (n - 1)
	return r
}
