package can

import (
	"testing"
	"time"

	"github.com/cell-runtime/cell/wire"
)

// sim runs nodes on a stepped model, in the model's own time and in one
// goroutine, so that every run is the same.
type sim struct {
	t     testing.TB
	model *Model
	nodes []*Node
	// others, if set, lets whoever else is on the bus act.
	others func()
	pause  time.Duration // how long to let pass when nobody sends
	ahead  time.Duration // by how much the nodes' clocks are ahead of the bus's
	// seen, if set, is told of every frame on the bus.
	seen func(f *Frame)
}

func newSim(t testing.TB, m ModelConfig, configs ...Config) *sim {
	t.Helper()
	m.Stepped = true
	s := &sim{t: t, model: NewModel(m)}
	for _, c := range configs {
		c.manual = true
		c.clock = func() int64 { return int64(s.model.Now() + s.ahead) }
		n := newNode(t, s.model.Open(), c)
		t.Cleanup(func() { n.Close() })
		s.nodes = append(s.nodes, n)
	}
	return s
}

// step lets all nodes act and then carries one frame, or lets time pass.
func (s *sim) step() {
	for _, n := range s.nodes {
		n.step()
	}
	if s.others != nil {
		s.others()
	}
	if f, ok := s.model.Step(); ok {
		if s.seen != nil {
			s.seen(&f)
		}
	} else {
		s.model.Idle(max(s.pause, 100*time.Microsecond))
	}
}

// until runs until f says true, for at most a minute of bus time.
func (s *sim) until(what string, f func() bool) {
	s.t.Helper()
	for end := s.model.Now() + time.Minute; !f(); s.step() {
		if s.model.Now() > end {
			s.t.Fatalf("a minute on the bus, and not yet: %s", what)
		}
	}
}

// idle runs for d.
func (s *sim) idle(d time.Duration) {
	for end := s.model.Now() + d; s.model.Now() < end; {
		s.step()
	}
}

// connect links two nodes, by number within the sim.
func (s *sim) connect(a, b int) (x, y *Conn) {
	s.t.Helper()
	x, _, err := s.nodes[a].begin(s.nodes[b].config.Node)
	if err != nil {
		s.t.Fatal(err)
	}
	s.until("linked", func() bool {
		select {
		case y = <-s.nodes[b].accepted:
			s.nodes[b].waiting--
		default:
		}
		return y != nil && x.stage == stageOpen
	})
	s.t.Cleanup(func() { x.Close(); y.Close() })
	return x, y
}

// send sends one vesicle without running the bus beyond what it needs room
// for.
func (s *sim) send(c *Conn, h wire.Header, payload []byte) {
	s.t.Helper()
	var v [1]wire.Vesicle
	s.until("room", func() bool { n, _ := c.Claim(v[:], len(payload)); return n == 1 })
	copy(v[0].Payload, payload)
	v[0].Header = h
	if err := c.Commit(v[:]); err != nil {
		s.t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		s.t.Fatal(err)
	}
}

// receive runs the bus until a vesicle has come.
func (s *sim) receive(c *Conn) (v wire.Vesicle) {
	s.t.Helper()
	var in [1]wire.Vesicle
	s.until("a vesicle", func() bool {
		n, err := c.Poll(in[:])
		if err != nil {
			s.t.Fatal(err)
		}
		return n == 1
	})
	v = in[0]
	v.Payload = append([]byte(nil), v.Payload...)
	if err := c.Release(1); err != nil {
		s.t.Fatal(err)
	}
	return v
}
