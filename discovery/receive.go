package discovery

import (
	"bytes"
	"errors"
	"net/netip"
)

// Reasons to drop that only the machine knows; they are counted like the rest.
var (
	errOwn  = errors.New("discovery: this node's own pheromone")
	errFull = errors.New("discovery: no place in the table")
)

// receive checks a packet and does what it asks for.
func (m *Machine) receive(p *Packet) {
	m.in = *p
	m.in.From = netip.AddrPortFrom(p.From.Addr().Unmap(), p.From.Port())
	e := &m.envelope
	body, err := m.opener.Open(p.Data, e, m.screen)
	if err == nil {
		err = m.accept(e, body)
	}
	if err != nil {
		m.stats.Drops.count(err)
	} else {
		m.stats.Received[e.Kind]++
	}
	m.in = Packet{}
}

// screenPacket judges a pheromone by what is known of its sender, before the
// signature is verified. It changes nothing but budgets: what an unverified
// packet says must leave no trace.
func (m *Machine) screenPacket(e *Envelope) error {
	if e.Node == m.c.Node {
		return errOwn
	}
	m.place = m.table.find(&e.Node)
	if t := m.trustIn(m.place, e.Node); t == Distrusted || t == Unproven && e.Kind != KindBeacon {
		return ErrStranger
	}
	if m.place >= 0 && !m.table.members[m.place].fresh(e.Incarnation, e.Counter) {
		return ErrReplay
	}
	if skew := m.c.Timing.MaxSkew.Milliseconds(); int64(e.Issued) > m.wall+skew || int64(e.Issued) < m.wall-skew || int64(e.Issued) < 0 {
		return ErrSkew
	}
	if m.place >= 0 && m.in.From.IsValid() && m.table.members[m.place].at() == m.in.From {
		if m.share(&m.table.members[m.place]) || m.known.take(m.now) {
			return nil
		}
	} else if m.other.take(m.now) {
		return nil
	}
	return ErrRate
}

// shareBurst is how many pheromones a member may spend of its share at once.
const shareBurst = 8

// share takes a verification from what is a member's own: half of what all may
// have, in equal parts. Who floods, or is made to seem to, silences nobody else.
func (m *Machine) share(n *member) bool {
	// How far its share is spent ahead of the time, which wraps around; what is
	// further than that can be is older than the last time round.
	each := uint32(max(1, min(1<<28, 2_000_000*m.nodes()/max(1, m.c.Limits.VerifyKnown))))
	now := uint32(m.now / 1000)
	ahead := n.ahead - now
	if ahead > shareBurst*each {
		ahead = 0
	}
	if ahead+each > shareBurst*each {
		return false
	}
	n.ahead = now + ahead + each
	return true
}

// trustIn returns how far a node is trusted that has a place in the table, or
// none (-1).
func (m *Machine) trustIn(place int32, id ID) Trust {
	if place >= 0 {
		return m.table.members[place].trust
	}
	return m.c.Trust(id)
}

// proofCost is about the most signatures in credentials that fit a beacon: two
// each of a membership and of a succession, or those of a chain.
const proofCost = 5

// prove returns how far the sender of a verified beacon is trusted. What its
// credentials cost is taken from the budget from which screen has taken for the
// beacon, before they are looked at. They are not refused for want of it, since
// in a flood that budget is never more than just enough for one.
func (m *Machine) prove(e *Envelope, body []byte) (Trust, error) {
	t := m.c.Trust(e.Node)
	if t != Unproven {
		return t, nil
	}
	b, err := m.c.Parse(e, body)
	if err != nil {
		return Distrusted, err
	}
	if len(b.Credentials) > 0 {
		m.other.owe(proofCost)
	}
	if t = m.c.Admit(e.Node, b.Credentials); t <= Unproven {
		return Distrusted, ErrStranger
	}
	return t, nil
}

// Recheck asks again how far every node is trusted, because what that rests on
// has changed or may have expired. It takes effect with the actions returned.
func (m *Machine) Recheck(now Instant) []Action {
	m.out = m.out[:0]
	m.now, m.wall = now.Mono, now.Wall
	for i := range m.table.members {
		n := &m.table.members[i]
		if n.state == stateFree {
			continue
		}
		id := m.table.ids[i]
		t := m.c.Trust(id)
		if t == Unproven && n.beacon != nil {
			t = m.c.Admit(id, n.beacon.Credentials)
		}
		if n.trust = t; t > Unproven {
			continue
		}
		if n.alive() {
			m.tell(Revoked, int32(i))
			m.table.setState(int32(i), stateDead)
			m.tableChanged()
		}
		m.forgetPlace(int32(i))
		m.table.remove(int32(i))
	}
	return m.out
}

// fresh reports whether a pheromone with these numbers was not seen before and
// is not too old to tell. A window of 64 counters allows for datagrams that
// overtake each other.
func (n *member) fresh(incarnation, counter uint64) bool {
	switch {
	case incarnation != n.incarnation:
		return incarnation > n.incarnation
	case n.state == stateLeft:
		return false
	case counter > n.counter:
		return true
	}
	back := n.counter - counter
	return back < 64 && n.window>>back&1 == 0
}

// saw notes the numbers of a verified pheromone.
func (n *member) saw(incarnation, counter uint64) {
	switch {
	case incarnation != n.incarnation:
		n.incarnation, n.counter, n.window = incarnation, counter, 1
		n.answered = false
	case counter > n.counter:
		n.window = n.window<<min(counter-n.counter, 64) | 1
		n.counter = counter
	default:
		n.window |= 1 << (n.counter - counter)
	}
}

// accept handles a verified pheromone.
func (m *Machine) accept(e *Envelope, body []byte) error {
	if e.Kind == KindLeave && m.place < 0 {
		return nil // nobody here knew it
	}
	if m.place < 0 {
		t, err := m.prove(e, body)
		if err != nil {
			return err
		}
		if m.place = m.admit(&e.Node, m.in.From.IsValid(), t); m.place < 0 {
			return errFull
		}
	}
	n := &m.table.members[m.place]
	n.saw(e.Incarnation, e.Counter)
	if e.Kind == KindLeave {
		m.left(m.place)
		return nil
	}
	m.touch(m.place)
	var err error
	if e.Kind == KindBeacon {
		err = m.learn(m.place, e, body, m.in.Data)
	}
	if err == nil {
		m.content(m.place, e)
		err = m.dispatch(e, body)
	}
	if err == nil && e.Flags&FlagClient == 0 {
		m.compareTables(e)
	}
	return err
}

func (m *Machine) dispatch(e *Envelope, body []byte) error {
	switch e.Kind {
	case KindBeacon:
		if e.Flags&FlagAsk != 0 {
			// Everybody is asked at once, so one that was asked alone is a seed.
			m.table.setOutside(m.place, !m.in.Group && m.table.members[m.place].direct())
			m.asked(m.place, e.Flags&FlagClient != 0)
		}
	case KindQuery:
		return m.queried(e, body)
	case KindProbe:
		return m.probed(body)
	case KindAck:
		return m.acked(body)
	case KindAskFor:
		return m.askedFor(body)
	case KindSuspect:
		return m.suspected(body)
	case KindGone:
		return m.reportedGone(body)
	case KindSync:
		return m.synced(body)
	case KindRelay:
		return m.relayed(body)
	}
	return nil
}

// admit makes a place for a node, giving up another's where the table is full.
// It returns -1 if all are worth more than the newcomer.
func (m *Machine) admit(id *ID, direct bool, t Trust) int32 {
	if m.table.used >= m.c.Limits.Peers {
		place := m.table.victim(classOf(stateAlive, direct, t))
		if place < 0 {
			return -1
		}
		if m.table.members[place].alive() {
			m.tell(Evicted, place)
			m.table.setState(place, stateDead)
		}
		m.forgetPlace(place)
		m.table.remove(place)
	}
	place := m.table.add(id)
	n := &m.table.members[place]
	n.trust, n.heard = t, m.now
	n.tried = millis(m.now - int64(m.c.Timing.Period))
	return place
}

// forgetPlace removes what refers to a place that another node may get.
func (m *Machine) forgetPlace(place int32) {
	for i := len(m.attempts) - 1; i >= 0; i-- {
		if m.attempts[i].place == place {
			m.dropAttempt(i)
		}
	}
	m.dropSuspicion(place)
	if m.target == place {
		m.target = -1
	}
	m.lost = deleteValue(m.lost, place)
	m.pending = deleteValue(m.pending, place)
	m.forward = deleteValue(m.forward, place)
}

func deleteValue(list []int32, v int32) []int32 {
	for i, x := range list {
		if x == v {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}

// touch notes that a node has just proved to be alive.
func (m *Machine) touch(place int32) {
	n := &m.table.members[place]
	n.heard = m.now
	if m.in.From.IsValid() {
		n.hops = 0
		m.table.setAddr(place, m.in.From)
	} else if !n.direct() {
		n.hops = max(n.hops, 1)
	}
	if m.in.Group {
		m.table.setOutside(place, false)
	}
	if n.state == stateSuspect {
		m.table.setState(place, stateAlive)
		m.dropSuspicion(place)
	}
}

// content sees to it that a node's beacon is known and the newest.
func (m *Machine) content(place int32, e *Envelope) {
	n := &m.table.members[place]
	if n.beacon != nil && n.beacon.Incarnation == e.Incarnation && n.beacon.Revision == e.Revision {
		n.tries = 0
		if n.state == stateDead {
			m.revive(place)
		}
		return
	}
	if e.Flags&FlagClient == 0 && millis(m.now)-n.tried >= millis(int64(m.c.Timing.Period)/2) {
		n.tried = millis(m.now)
		m.reply(m.seal(KindQuery, 0, nil))
	}
}

// millis is a time in ns as members remember it, in ms; it wraps around.
func millis(ns int64) uint32 { return uint32(ns / 1e6) }

func (m *Machine) revive(place int32) {
	back := m.table.members[place].state == stateDead
	m.table.setState(place, stateAlive)
	m.tableChanged()
	m.tell(Found, place)
	if back {
		m.reunite()
	}
}

// reply sends something to whoever sent the packet in hand.
func (m *Machine) reply(p []byte) {
	if m.in.From.IsValid() {
		m.to(m.in.From, p)
	} else {
		m.link(m.in.Over, p)
	}
}

// learn takes over a verified beacon, whole in raw.
func (m *Machine) learn(place int32, e *Envelope, body, raw []byte) error {
	n := &m.table.members[place]
	old := n.beacon
	same := old != nil && old.Incarnation == e.Incarnation && old.Revision == e.Revision
	if old != nil && old.Incarnation == e.Incarnation && old.Counter > e.Counter {
		return nil // overtaken by a newer one
	}
	b, err := m.c.Parse(e, body)
	if err != nil {
		return err
	}
	if e.Flags&FlagClient != 0 {
		return nil
	}
	if b.raw == nil {
		b.raw = bytes.Clone(raw)
	}
	m.table.setBeacon(place, b)
	n.tries = 0
	switch {
	case !n.alive():
		m.revive(place)
	case !same:
		m.tableChanged()
		m.tell(Changed, place)
	case m.loadsDiffer(old, b):
		m.tell(Changed, place)
	}
	return nil
}

// loadsDiffer says whether two beacons of one revision differ in loads, which
// alone make no new revision.
func (m *Machine) loadsDiffer(a, b *Beacon) bool {
	if len(a.Services) != len(b.Services) {
		return false
	}
	for i := range a.Services {
		if a.Services[i].Load != b.Services[i].Load {
			return true
		}
	}
	return false
}

// left notes that a node went of its own will.
func (m *Machine) left(place int32) {
	was := m.table.members[place].alive()
	m.table.setState(place, stateLeft)
	m.dropSuspicion(place)
	if was {
		m.tableChanged()
		m.tell(Left, place)
		m.passOn(place)
	}
}
