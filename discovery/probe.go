package discovery

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
)

const (
	// helpers is how many others are asked to probe a node that does not
	// answer.
	helpers = 3
	// maxAttempts bounds probes under way.
	maxAttempts = 256
	// maxLost bounds how many lost nodes are asked whether they are back.
	maxLost = 4096
	// maxTries is how often a node that is known through others only is asked.
	maxTries = 5
	// swept is how many places are looked at for expiry in one period at the
	// least.
	swept = 16
)

// attempt is a probe that waits for its ack.
type attempt struct {
	place  int32
	stage  int8 // probes sent
	nonce  uint64
	sent   int64
	due    int64          // for the next stage
	helped netip.AddrPort // for whom it is made, with his nonce; invalid: for this node
	second bool           // a suspicion is under way already
}

// probing finds out who is alive. In every period each node probes one other,
// by a rotation of the sorted table that all share without talking about it:
// they take the period's number from the wall clock. So every node is probed
// once a period, by another one each time; the moment within the period is the
// target's, so that it is a period from one time to the next. Where tables or
// clocks differ, the targets are as good as drawn at random.
type probing struct {
	at       int64 // when the period ends, or its target is due
	target   int32 // -1: it was probed, or there is none
	targetID ID
	attempts []attempt
	lost     []int32 // places of nodes that may come back
	sweep    int
}

// periodStart returns when the period after the k next ones begins.
func (m *Machine) periodStart(k int64) int64 {
	period := m.c.Timing.Period.Milliseconds()
	return m.now + (period-m.wall%period+k*period)*1e6
}

// probe does what is due of the failure detector.
func (m *Machine) probe() {
	if m.probing.at <= m.now {
		if m.target >= 0 {
			m.probeTarget()
		} else {
			m.period()
		}
	}
	for i := len(m.attempts) - 1; i >= 0; i-- {
		if i < len(m.attempts) && m.attempts[i].due <= m.now {
			m.retry(i)
		}
	}
}

// period begins a new one: chooses its target and does what is done once.
func (m *Machine) period() {
	m.sweepExpired()
	m.askLost()
	m.target = -1
	if order := m.table.nearByID(); len(order) > 0 && !m.c.Client {
		n := len(order)
		number := uint64(m.wall) / uint64(m.c.Timing.Period.Milliseconds())
		step := 1 + int(mix(number)%uint64(n))
		self := m.table.search(order, &m.c.Node)
		i := (self + step) % (n + 1) // in the order with this node in it
		if i > self {
			i--
		}
		m.target = order[i]
		m.targetID = m.table.ids[m.target]
		phase := int64(mix(binary.LittleEndian.Uint64(m.targetID[16:])) % uint64(m.c.Timing.Period.Milliseconds()))
		into := m.wall % m.c.Timing.Period.Milliseconds()
		m.probing.at = m.now + max(0, phase-into)*1e6
		return
	}
	m.probing.at = m.periodStart(0)
}

func (m *Machine) probeTarget() {
	place := m.target
	m.target = -1
	m.probing.at = m.periodStart(0)
	n := &m.table.members[place]
	// Who was just heard need not be asked: in small clusters that halves the
	// traffic.
	if n.state == stateAlive && n.direct() && m.now-n.heard >= int64(m.c.Timing.Period)/2 {
		m.attempt(place, netip.AddrPort{}, m.random.Uint64())
	}
}

// attempt begins one attempt, unless one is under way.
func (m *Machine) attempt(place int32, helped netip.AddrPort, nonce uint64) {
	if len(m.attempts) >= maxAttempts || !helped.IsValid() &&
		slices.ContainsFunc(m.attempts, func(a attempt) bool { return a.place == place && !a.helped.IsValid() }) {
		return
	}
	m.attempts = append(m.attempts, attempt{place: place, nonce: nonce, sent: m.now, helped: helped})
	m.retry(len(m.attempts) - 1)
}

// patience is how long one stage of a probe waits.
func (m *Machine) patience(n *member) int64 {
	return max(int64(m.c.Timing.Patience), min(3*int64(n.rtt)*rttUnit, 4*int64(m.c.Timing.Patience)))
}

// retry sends the next stage of an attempt, or gives up.
func (m *Machine) retry(i int) {
	a := &m.attempts[i]
	n := &m.table.members[a.place]
	patience := m.patience(n)
	last := int8(3)
	if a.helped.IsValid() {
		last = 2
	}
	if a.stage == last {
		place, mine := a.place, !a.helped.IsValid() && !a.second
		m.dropAttempt(i)
		if mine && n.state == stateAlive {
			m.accuse(place)
		}
		return
	}
	a.stage++
	if a.due = m.now + patience; a.stage == 3 {
		a.due += patience
		m.askHelpers(a, helpers)
	}
	m.wake(a.due)
	m.sendProbe(n, a.nonce)
}

func (m *Machine) sendProbe(n *member, nonce uint64) {
	m.to(n.at(), m.seal(KindProbe, 0, binary.LittleEndian.AppendUint64(nil, nonce)))
}

func (m *Machine) dropAttempt(i int) { m.attempts = slices.Delete(m.attempts, i, i+1) }

// askHelpers asks others, drawn at random, to probe for this node.
func (m *Machine) askHelpers(a *attempt, most int) {
	subject := &m.table.members[a.place]
	ip := subject.at().Addr().As16()
	body := binary.LittleEndian.AppendUint64(nil, a.nonce)
	body = append(body, m.table.ids[a.place][:]...)
	body = binary.LittleEndian.AppendUint16(body, subject.at().Port())
	body = append(body, ip[:]...)
	var asked [helpers]int32
	k := 0
	near := m.table.near()
	for try := 0; try < 4*most && k < most && len(near) > 1; try++ {
		place := near[m.random.IntN(len(near))]
		if n := &m.table.members[place]; place == a.place || n.state != stateAlive || slices.Contains(asked[:k], place) {
			continue
		}
		asked[k] = place
		k++
		m.to(m.table.members[place].at(), m.seal(KindAskFor, 0, body))
	}
}

// probed answers a probe.
func (m *Machine) probed(body []byte) error {
	if len(body) != 8 {
		return ErrBody
	}
	if !m.in.From.IsValid() {
		return nil
	}
	m.reply(m.seal(KindAck, 0, body))
	return nil
}

func (m *Machine) appendProof(to []byte, id ID, incarnation, counter uint64) []byte {
	to = append(to, id[:]...)
	to = binary.LittleEndian.AppendUint64(to, incarnation)
	return binary.LittleEndian.AppendUint64(to, counter)
}

const proofSize = 32 + 8 + 8

func parseProof(p []byte) (id ID, incarnation, counter uint64) {
	return ID(p), binary.LittleEndian.Uint64(p[32:]), binary.LittleEndian.Uint64(p[40:])
}

// acked ends the attempt that an ack belongs to. A helper hands it on as the node
// that was probed has signed it: nobody else can say that it answers.
func (m *Machine) acked(body []byte) error {
	switch {
	case len(body) < 8:
		return ErrBody
	case len(body) > 8:
		return m.handedOn(body[8:])
	}
	i := m.attemptOf(binary.LittleEndian.Uint64(body), m.place)
	if i < 0 {
		return nil // late, or asked for by nobody
	}
	a, n := &m.attempts[i], &m.table.members[m.place]
	if rtt := (m.now - a.sent) / rttUnit; a.stage == 1 && rtt <= math.MaxUint16 {
		n.rtt = n.rtt - n.rtt/8 + uint16(rtt)/8
	}
	if a.helped.IsValid() {
		m.to(a.helped, m.seal(KindAck, 0, append(body[:8:8], m.in.Data...)))
	}
	m.dropAttempt(i)
	return nil
}

// handedOn takes the ack of a node that answered a helper.
func (m *Machine) handedOn(p []byte) error {
	var e Envelope
	body, err := m.opener.Open(p, &e, m.screenAck)
	if err != nil {
		return err
	}
	if e.Kind != KindAck || len(body) != 8 {
		return ErrBody
	}
	place := m.table.find(&e.Node)
	if i := m.attemptOf(binary.LittleEndian.Uint64(body), place); i >= 0 {
		m.vouched(place, e.Incarnation)
		m.dropAttempt(i)
	}
	return nil
}

// screenAck judges an ack that is handed on, before its signature is verified: it
// must be of a node about which others were asked.
func (m *Machine) screenAck(e *Envelope) error {
	place := m.table.find(&e.Node)
	if !slices.ContainsFunc(m.attempts, func(a attempt) bool { return a.place == place && a.stage == 3 }) {
		return ErrReplay
	}
	if !m.other.take(m.now) {
		return ErrRate
	}
	return nil
}

// attemptOf returns the attempt at a node with a nonce, or -1.
func (m *Machine) attemptOf(nonce uint64, place int32) int {
	return slices.IndexFunc(m.attempts, func(a attempt) bool { return a.nonce == nonce && a.place == place })
}

// vouched notes that a node answered somebody else just now.
func (m *Machine) vouched(place int32, incarnation uint64) {
	n := &m.table.members[place]
	if incarnation < n.incarnation || !n.alive() {
		return
	}
	n.heard = m.now
	if n.state == stateSuspect {
		m.table.setState(place, stateAlive)
		m.dropSuspicion(place)
	}
}

// askedFor probes a node for another one.
func (m *Machine) askedFor(body []byte) error {
	if len(body) != 8+32+2+16 {
		return ErrBody
	}
	id := ID(body[8:])
	place := m.table.find(&id)
	if place < 0 || !m.in.From.IsValid() || !m.table.members[place].direct() {
		return nil // the asker has others to ask
	}
	m.attempt(place, m.in.From, binary.LittleEndian.Uint64(body))
	return nil
}

// sweepExpired looks at a part of the table for nodes of which nothing was
// heard for their lifetime. Those heard directly are probed: their beacons may
// have been lost. Of others, nodes that may hear them are asked; if that brings
// nothing they are given up.
func (m *Machine) sweepExpired() {
	for range max(swept, len(m.table.members)/64) {
		if m.sweep++; m.sweep >= len(m.table.members) {
			m.sweep = 0
		}
		if len(m.table.members) == 0 {
			return
		}
		n := &m.table.members[m.sweep]
		life := int64(1)
		if n.alive() {
			life = int64(n.beacon.Lifetime) * 1e9
		}
		switch age := m.now - n.heard; {
		case !n.alive() || age < life:
			continue
		case n.direct():
			m.attempt(int32(m.sweep), netip.AddrPort{}, m.random.Uint64())
			continue
		case age < life+life/2:
			m.askAround(int32(m.sweep))
			continue
		}
		m.table.setState(int32(m.sweep), stateDead)
		m.tableChanged()
		m.tell(Expired, int32(m.sweep))
	}
}

// askAround asks others whether a node lives that is not heard here.
func (m *Machine) askAround(place int32) {
	if len(m.attempts) >= maxAttempts {
		return
	}
	m.attempts = append(m.attempts, attempt{place: place, stage: 3, second: true, nonce: m.random.Uint64(), sent: m.now, due: m.now + int64(m.c.Timing.Suspicion)})
	m.askHelpers(&m.attempts[len(m.attempts)-1], helpers)
}

// askLost asks one of the nodes that were lost, or are known through others
// only, for its beacon: so a partition is noticed to have healed.
func (m *Machine) askLost() {
	for range 1 + len(m.lost)/32 {
		if len(m.lost) == 0 {
			return
		}
		place := m.lost[0]
		m.lost = m.lost[1:]
		n := &m.table.members[place]
		switch {
		case n.state == stateDead && n.direct() && m.now-n.heard < int64(m.c.Timing.Reconnect):
			m.to(n.at(), m.seal(KindQuery, 0, nil))
		case n.alive() && !n.direct() && n.tries < maxTries:
			n.tries++
			m.askDirectly(n)
		default:
			continue
		}
		m.lost = append(m.lost, place)
	}
}

// remember puts a node among those that are asked now and then.
func (m *Machine) remember(place int32) {
	if len(m.lost) < maxLost && !slices.Contains(m.lost, place) {
		m.lost = append(m.lost, place)
	}
}

// MediumPheromone names the addresses at which pheromones are received.
const MediumPheromone = "pheromone"

// askDirectly asks a node that is known through others for its beacon, at the
// addresses that it tells.
func (m *Machine) askDirectly(n *member) {
	for i, sent := 0, 0; i < len(n.beacon.Addresses) && sent < 4; i++ {
		if a := n.beacon.Addresses[i]; a.Medium == MediumPheromone && !a.Addr.Addr().IsUnspecified() {
			m.to(a.Addr, m.seal(KindQuery, 0, nil))
			sent++
		}
	}
}

func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
