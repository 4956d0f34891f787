package discovery

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// never is a time that does not come.
const never = math.MaxInt64

// Machine is the protocol: it is told the time and what arrived and says what
// to send. It has no sockets, no clock and no goroutine, so a simulation runs
// it unchanged. It belongs to one goroutine.
//
// It is made of the nodes' table (table.go), what others learn of this node
// (announce.go), who is alive (probe.go, suspect.go), and the repair of
// differences between tables (sync.go, gossip.go).
type Machine struct {
	c      Config
	sealer *Sealer
	opener *Opener
	screen Screen // m.screenPacket, once, so that it isn't allocated
	random *rand.Rand
	table  table
	stats  Stats

	now, wall int64 // of the Step under way; wall in ms
	next      int64 // when there is something to do
	in        Packet
	envelope  Envelope // of in; here, so that it isn't allocated
	place     int32    // of the sender of in, or -1
	out       []Action
	counter   uint64
	ownHash   uint32 // what this node adds to the digest of its table
	known     budget
	other     budget
	relaying  budget

	announcing
	probing
	syncing
	gossiping
	suspects []suspicion
	leaving  bool
}

// New returns a machine that has not begun: the first [Machine.Step] announces
// it. The error wraps [ErrConfig].
func New(c Config) (*Machine, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	m := &Machine{
		c:      c,
		sealer: NewSealer(c.Cluster, c.Node, c.Signer),
		opener: NewOpener(c.Cluster, c.Verifier),
		random: rand.New(rand.NewPCG(c.Seed, uint64(c.Incarnation))),
		next:   math.MinInt64,
	}
	m.screen = m.screenPacket
	m.table.init(m.random.Uint64(), min(max(0, c.Expected), c.Limits.Peers))
	m.known.rate, m.other.rate, m.relaying.rate = max(1, c.Limits.VerifyKnown/2), c.Limits.VerifyOther, c.Limits.Relays
	self := &Beacon{Name: c.Name, Host: c.Host}
	self.Node, self.Revision = c.Node, 1
	m.describe(self)
	m.probing.at, m.gossiping.at, m.syncing.notBefore = never, never, math.MinInt64
	m.target = -1
	return m, nil
}

// Step tells the machine the time, and what arrived if p is not nil. It returns
// what to do, valid until the next call. Call it when something arrives and
// when the time of [Machine.Next] has come. What is dropped before its signature
// was looked at allocates nothing.
func (m *Machine) Step(now Instant, p *Packet) []Action {
	m.out = m.out[:0]
	m.forgiveStall(now.Mono)
	m.now, m.wall = now.Mono, now.Wall
	if m.next == math.MinInt64 {
		m.begin()
	}
	if p != nil {
		m.receive(p)
	}
	if m.now >= m.next {
		m.work()
	}
	return m.out
}

// Next returns when Step wants to be called at the latest: [Instant].Mono.
func (m *Machine) Next() int64 { return m.next }

// begin sets the clocks at the first Step.
func (m *Machine) begin() {
	m.next = never
	for _, b := range []*budget{&m.known, &m.other, &m.relaying} {
		b.fill(m.now)
	}
	m.restartAnnouncing(!m.c.Client)
	m.probing.at = m.periodStart(0)
	m.gossiping.at = m.now + m.jitter(int64(m.c.Timing.Gossip))
	m.wake(m.now)
}

// wake sees to it that work runs at t at the latest.
func (m *Machine) wake(t int64) { m.next = min(m.next, t) }

// work does what is due and finds out when there is more.
func (m *Machine) work() {
	if m.leaving {
		m.next = never
		return
	}
	m.announce()
	m.answer()
	m.probe()
	m.judge()
	m.gossip()
	m.next = min(m.announcing.at, m.refuteAt, m.answerAt, m.probing.at, m.gossiping.at)
	for i := range m.attempts {
		m.next = min(m.next, m.attempts[i].due)
	}
	for i := range m.suspects {
		m.next = min(m.next, m.suspects[i].due)
	}
}

// forgiveStall moves what others owe by the time for which this process was not
// running: who did not look can't say that nobody answered.
func (m *Machine) forgiveStall(now int64) {
	if m.next == math.MinInt64 || m.next == never {
		return
	}
	late := now - m.next
	if late < int64(m.c.Timing.Patience) {
		return
	}
	for i := range m.attempts {
		m.attempts[i].due += late
		m.attempts[i].sent += late
	}
	for i := range m.suspects {
		m.suspects[i].due += late
		m.suspects[i].end += late
	}
}

// jitter returns d within ±20 %.
func (m *Machine) jitter(d int64) int64 { return d - d/5 + m.random.Int64N(2*d/5+1) }

// nodes returns the size of the cluster as it is known, this node included.
func (m *Machine) nodes() int { return m.table.alive + 1 }

// seal makes a pheromone of this node; nil only if body is too long, which
// callers see to.
func (m *Machine) seal(k Kind, flags uint8, body []byte) []byte {
	e := Envelope{Kind: k, Flags: flags}
	m.fill(&e)
	p, err := m.sealer.Seal(&e, body)
	if err != nil {
		return nil
	}
	return p
}

// fill sets what every pheromone of this node says.
func (m *Machine) fill(e *Envelope) {
	m.counter++
	m.stats.Sent[e.Kind]++
	if m.c.Client {
		e.Flags |= FlagClient
	}
	e.Incarnation, e.Counter, e.Issued = m.c.Incarnation, m.counter, uint64(m.wall)
	e.Hops = m.c.Limits.Hops
	e.Lifetime = m.lifetime()
	e.Revision = m.self.Revision
	e.Known, e.Digest = m.digest()
}

// digest describes the table, this node included.
func (m *Machine) digest() (known, hash uint32) {
	if m.c.Client {
		return uint32(m.table.alive), m.table.hash
	}
	return uint32(m.table.alive + 1), m.table.hash ^ m.ownHash
}

// describe has the node's beacons say something else.
func (m *Machine) describe(b *Beacon) {
	m.self = b
	m.ownHash = hashNode(&m.c.Node, m.c.Incarnation, b.Revision)
}

// maxOutside is how many nodes that no group reaches are told one by one what
// the groups are told.
const maxOutside = 64

func (m *Machine) group(p []byte) {
	m.out = append(m.out, Action{Kind: SendGroup, Data: p})
	n := 0
	for _, place := range m.table.outside {
		if x := &m.table.members[place]; x.alive() && n < maxOutside {
			n++
			m.to(x.at(), p)
		}
	}
}

func (m *Machine) to(a netip.AddrPort, p []byte) {
	m.out = append(m.out, Action{Kind: SendTo, To: a, Data: p})
}
func (m *Machine) link(peer ID, p []byte) {
	m.out = append(m.out, Action{Kind: SendLink, Peer: peer, Data: p})
}
func (m *Machine) tell(k EventKind, place int32) {
	m.out = append(m.out, Action{Kind: Tell, Event: Event{k, m.peer(place)}})
}

func (m *Machine) peer(place int32) Peer {
	n := &m.table.members[place]
	return Peer{ID: m.table.ids[place], Beacon: n.beacon, Addr: n.at(), Hops: n.hops, Suspect: n.state == stateSuspect, Heard: n.heard}
}

// Peers returns the living nodes, by ID.
func (m *Machine) Peers() []Peer {
	var all []Peer
	for i := range m.table.members {
		if m.table.members[i].alive() {
			all = append(all, m.peer(int32(i)))
		}
	}
	slices.SortFunc(all, func(a, b Peer) int { return compare(&a.ID, &b.ID) })
	return all
}

// Alive reports whether a node is known and not given up.
func (m *Machine) Alive(id ID) bool {
	place := m.table.find(&id)
	return place >= 0 && m.table.members[place].alive()
}

// Stats returns the counters.
func (m *Machine) Stats() Stats {
	s := m.stats
	s.Peers, s.Alive = m.table.used, m.table.alive
	return s
}

// budget is a token bucket that holds one second's worth.
type budget struct {
	rate int
	left float64
	at   int64
}

func (b *budget) fill(now int64) { b.left, b.at = float64(b.rate), now }

func (b *budget) take(now int64) bool {
	b.left = min(float64(b.rate), b.left+float64(now-b.at)*1e-9*float64(b.rate))
	if b.at = now; b.left < 1 {
		return false
	}
	b.left--
	return true
}

// owe takes n more, which may be more than there are: until they have come
// back, nothing is taken.
func (b *budget) owe(n float64) { b.left -= n }
