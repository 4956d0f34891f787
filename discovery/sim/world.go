// Package sim runs the protocol of package discovery, unchanged, on a simulated
// network and clock: many nodes in one goroutine, with loss, delay, partitions,
// links that work in one direction only, crashes and restarts. The same seed
// gives the same run.
package sim

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/cell-runtime/cell/discovery"
)

// Config describes a simulated network.
type Config struct {
	Nodes int
	Seed  uint64
	// Loss is the probability that a datagram is lost, for each receiver.
	Loss float64
	// DelayMin and DelayMax bound the time that a datagram takes. Defaults
	// 50 µs and 500 µs. All receivers of a multicast get it at once.
	DelayMin, DelayMax time.Duration
	// Skew bounds how far the nodes' wall clocks are from the true time.
	Skew time.Duration
	// Timing of the protocol; zero fields mean its defaults.
	Timing discovery.Timing
	// Services is how many services each node has.
	Services int
}

// headers are the bytes of Ethernet, IPv4 and UDP for each datagram.
const headers = 14 + 20 + 8

// epoch is the true time at which a simulation begins.
const epoch = 1_700_000_000_000

// World is a simulated network with its nodes.
type World struct {
	c      Config
	random *rand.Rand
	now    int64
	events queue
	serial uint64
	Nodes  []*Node
	byAddr map[netip.AddrPort]*Node
	byID   map[discovery.ID]*Node
	shared map[discovery.ID]*discovery.Beacon
	last   *discovery.Beacon // of those that was read last
	// blocked has the links from one node to another that carry nothing.
	blocked map[[2]int]bool
	// receivers of what is sent to all, with their machines.
	receivers []*Node
	machines  []*discovery.Machine
	read      uint64 // see discovery.Warm
	skip      int    // receivers until the next loss
	counted   Counts
	// OnEvent, if set, sees what each node is told of others.
	OnEvent func(at *Node, about *Node, e *discovery.Event)
}

// Counts are what happened in a world.
type Counts struct {
	Steps, Deliveries uint64
	// FalseDeaths: a node took another for dead that lived and could be
	// reached.
	FalseDeaths uint64
	// Sent and Received are bytes with headers, at the nodes.
	Sent, Received uint64
}

// Node is one simulated node.
type Node struct {
	Number  int
	ID      discovery.ID
	Addr    netip.AddrPort
	Up      bool
	Side    int // nodes of different sides don't reach each other
	Died    int64
	machine *discovery.Machine
	skew    int64 // ms
	timer   int64
}

// New returns a world in which no node has started yet.
func New(c Config) *World {
	if c.DelayMax == 0 {
		c.DelayMin, c.DelayMax = 50*time.Microsecond, 500*time.Microsecond
	}
	w := &World{c: c, random: rand.New(rand.NewPCG(c.Seed, 1)),
		byAddr: make(map[netip.AddrPort]*Node), byID: make(map[discovery.ID]*Node),
		shared: make(map[discovery.ID]*discovery.Beacon), blocked: make(map[[2]int]bool)}
	w.drawLoss()
	for range c.Nodes {
		w.Add()
	}
	return w
}

// Add makes one more node, which is not started.
func (w *World) Add() *Node {
	i := len(w.Nodes)
	n := &Node{Number: i, timer: math.MaxInt64}
	n.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 7)
	for k := 0; k < len(n.ID); k += 8 {
		binary.LittleEndian.PutUint64(n.ID[k:], w.random.Uint64())
	}
	if w.c.Skew > 0 {
		n.skew = w.random.Int64N(2*w.c.Skew.Milliseconds()+1) - w.c.Skew.Milliseconds()
	}
	w.Nodes = append(w.Nodes, n)
	w.byAddr[n.Addr], w.byID[n.ID] = n, n
	return n
}

// Start starts a node, or starts it again, at the present time.
func (w *World) Start(n *Node) error {
	m, err := discovery.New(discovery.Config{
		Cluster: discovery.NamedCluster("simulated"), Node: n.ID,
		Signer: toySignature(n.ID), Verifier: toyVerifier{},
		Trust:       func(discovery.ID) discovery.Trust { return discovery.ByName },
		Incarnation: uint64(w.wall(n).Wall), Seed: w.random.Uint64(), Expected: w.c.Nodes + w.c.Nodes/64 + 8,
		Name: fmt.Sprintf("node-%d", n.Number), Timing: w.c.Timing, Parse: w.parse,
	})
	if err != nil {
		return err
	}
	var services []discovery.Service
	for i := range w.c.Services {
		services = append(services, discovery.Service{Name: fmt.Sprintf("service-%d", i), Fingerprints: []uint64{uint64(i)<<32 + 1, 2, 3}})
	}
	if err := m.Set([]discovery.Address{{Medium: discovery.MediumPheromone, Addr: n.Addr}}, services); err != nil {
		return err
	}
	n.machine, n.Up, n.Died = m, true, 0
	w.do(n, m.Step(w.wall(n), nil))
	return nil
}

// Kill ends a node without a farewell.
func (w *World) Kill(n *Node) { n.Up, n.Died, n.timer = false, w.now, math.MaxInt64 }

// Leave ends a node with one.
func (w *World) Leave(n *Node) {
	w.do(n, n.machine.Leave(w.wall(n)))
	w.Kill(n)
}

// Block makes the link from one node to another carry nothing.
func (w *World) Block(from, to *Node) { w.blocked[[2]int{from.Number, to.Number}] = true }

// Now returns the time since the beginning.
func (w *World) Now() time.Duration { return time.Duration(w.now) }

// Counts returns what happened so far.
func (w *World) Counts() Counts { return w.counted }

// Stats returns a node's counters.
func (n *Node) Stats() discovery.Stats { return n.machine.Stats() }

// Knows reports whether a node has another one in its table, alive.
func (n *Node) Knows(other *Node) bool { return n.machine.Alive(other.ID) }

func (w *World) wall(n *Node) discovery.Instant {
	return discovery.Instant{Mono: w.now, Wall: epoch + w.now/1e6 + n.skew}
}

// Run lets time pass until done says so, which is asked every millisecond of
// simulated time if it is not nil, or for d. It reports whether done did.
func (w *World) Run(d time.Duration, done func() bool) bool {
	end, look := w.now+int64(d), w.now
	for len(w.events) > 0 && w.events[0].at <= end {
		if at := w.events[0].at; done != nil && at >= look {
			if done() {
				return true
			}
			look = at + int64(time.Millisecond)
		}
		e := w.events.pop()
		w.now = max(w.now, e.at)
		w.happen(&e)
	}
	w.now = end
	return done != nil && done()
}

func (w *World) happen(e *event) {
	switch {
	case e.data == nil:
		if e.to.Up && e.to.timer == e.at {
			e.to.timer = math.MaxInt64
			w.step(e.to, nil)
		}
	case e.to != nil:
		if w.reaches(e.from, e.to) && !w.lost() {
			w.deliver(e.from, e.to, e.data, false)
		}
	default:
		w.receivers, w.machines = w.receivers[:0], w.machines[:0]
		for _, n := range w.Nodes {
			if n != e.from && w.reaches(e.from, n) && !w.lost() {
				w.receivers = append(w.receivers, n)
				w.machines = append(w.machines, n.machine)
			}
		}
		w.deliverAll(e.from, e.data)
	}
}

// deliverAll gives those that were chosen what was sent to all.
func (w *World) deliverAll(from *Node, data []byte) {
	const some = 32 // whose tables are in the CPU's caches at a time
	for i, to := range w.receivers {
		if i%some == 0 {
			w.read += discovery.Warm(w.machines[i:min(i+some, len(w.machines))], &from.ID)
		}
		w.deliver(from, to, data, true)
	}
}

func (w *World) deliver(from, to *Node, data []byte, group bool) {
	w.counted.Deliveries++
	w.counted.Received += uint64(len(data) + headers)
	p := discovery.Packet{Data: data, From: from.Addr, Group: group}
	w.step(to, &p)
}

func (w *World) reaches(from, to *Node) bool {
	return to.Up && from.Side == to.Side && (len(w.blocked) == 0 || !w.blocked[[2]int{from.Number, to.Number}])
}

// lost draws how many receivers there are until the next loss, which is cheaper
// than to ask for each.
func (w *World) lost() bool {
	if w.c.Loss <= 0 {
		return false
	}
	if w.skip--; w.skip >= 0 {
		return false
	}
	w.drawLoss()
	return true
}

func (w *World) drawLoss() {
	if w.c.Loss > 0 {
		w.skip = int(math.Log(1-w.random.Float64()) / math.Log(1-w.c.Loss))
	}
}

func (w *World) step(n *Node, p *discovery.Packet) {
	w.counted.Steps++
	w.do(n, n.machine.Step(w.wall(n), p))
}

// do carries out what a node wants and sets its timer.
func (w *World) do(n *Node, actions []discovery.Action) {
	for i := range actions {
		switch a := &actions[i]; a.Kind {
		case discovery.SendGroup:
			w.counted.Sent += uint64(len(a.Data) + headers)
			w.push(event{at: w.now + w.delay(), from: n, data: a.Data})
		case discovery.SendTo:
			w.counted.Sent += uint64(len(a.Data) + headers)
			if to := w.byAddr[a.To]; to != nil {
				w.push(event{at: w.now + w.delay(), from: n, to: to, data: a.Data})
			}
		case discovery.Tell:
			w.told(n, &a.Event)
		}
	}
	if next := n.machine.Next(); next < n.timer && n.Up {
		n.timer = max(next, w.now)
		w.push(event{at: n.timer, to: n})
	}
}

func (w *World) push(e event) {
	w.serial++
	e.serial = w.serial
	w.events.push(e)
}

func (w *World) delay() int64 {
	return int64(w.c.DelayMin) + w.random.Int64N(int64(w.c.DelayMax-w.c.DelayMin)+1)
}

func (w *World) told(at *Node, e *discovery.Event) {
	about := w.byID[e.Peer.ID]
	if (e.Kind == discovery.Died || e.Kind == discovery.Expired) && about.Up && about.Side == at.Side {
		w.counted.FalseDeaths++
	}
	if w.OnEvent != nil {
		w.OnEvent(at, about, e)
	}
}

// parse shares what was read among all nodes that read the same beacon.
func (w *World) parse(e *discovery.Envelope, body []byte) (*discovery.Beacon, error) {
	// What goes to all is read by one after the other.
	if b := w.last; b != nil && b.Counter == e.Counter && b.Incarnation == e.Incarnation && b.Node == e.Node {
		return b, nil
	}
	if b := w.shared[e.Node]; b != nil && b.Incarnation == e.Incarnation && b.Counter == e.Counter {
		w.last = b
		return b, nil
	}
	b, err := discovery.ParseBeacon(e, body)
	if err == nil {
		w.shared[e.Node], w.last = b, b
	}
	return b, err
}

// toySignature stands for a signature where nobody forges: a simulated day has
// more of them than there is time to verify.
type toySignature discovery.ID

func (s toySignature) Sign(message []byte) []byte {
	signature := make([]byte, 64)
	copy(signature, s[:])
	binary.LittleEndian.PutUint64(signature[32:], toyHash(message))
	return signature
}

type toyVerifier struct{}

func (toyVerifier) Verify(node discovery.ID, message, signature []byte) bool {
	return discovery.ID(signature) == node && binary.LittleEndian.Uint64(signature[32:]) == toyHash(message)
}

// toyHash is over what tells pheromones apart: incarnation and counter.
func toyHash(message []byte) uint64 {
	return binary.LittleEndian.Uint64(message[48:])*31 + binary.LittleEndian.Uint64(message[56:])
}
