package discovery

import (
	"slices"
)

// maxSuspects bounds suspicions under way; more wait for the next period.
const maxSuspects = 4096

// suspicion is a node that owes a sign of life.
type suspicion struct {
	place int32
	mine  bool // this node began it and tells when it ends
	stage int8
	due   int64 // for the next stage
	end   int64
}

// accuse tells everybody that a node did not answer. It has until the end of
// the suspicion to say otherwise.
func (m *Machine) accuse(place int32) {
	if !m.suspect(place, int64(m.c.Timing.Suspicion), true) {
		return
	}
	m.stats.Suspicions++
	m.tellSuspicion(place)
}

func (m *Machine) tellSuspicion(place int32) {
	n := &m.table.members[place]
	p := m.seal(KindSuspect, 0, m.appendProof(nil, m.table.ids[place], n.incarnation, n.counter))
	m.group(p)
	m.to(n.at(), p) // a group may not reach it
}

// suspect begins a suspicion that ends after d, or shortens one under way.
func (m *Machine) suspect(place int32, d int64, mine bool) bool {
	for i := range m.suspects {
		if s := &m.suspects[i]; s.place == place {
			if s.end > m.now+d {
				s.end = m.now + d
				s.due = min(s.due, s.end)
				m.wake(s.due)
			}
			return false
		}
	}
	if len(m.suspects) >= maxSuspects {
		return false
	}
	m.table.setState(place, stateSuspect)
	s := suspicion{place: place, mine: mine, due: m.now + d*3/10, end: m.now + d}
	m.suspects = append(m.suspects, s)
	m.wake(s.due)
	return true
}

func (m *Machine) dropSuspicion(place int32) {
	m.suspects = slices.DeleteFunc(m.suspects, func(s suspicion) bool { return s.place == place })
}

// judge does what is due of the suspicions. Before a node is given up, everyone
// who suspects it asks for himself, and through others, and does so again: the
// accuser's word, or the answer, may have gone a way that works in one direction
// only, and so may the helper's.
func (m *Machine) judge() {
	for i := len(m.suspects) - 1; i >= 0; i-- {
		s := &m.suspects[i]
		if s.due > m.now {
			continue
		}
		if s.end <= m.now {
			place, mine := s.place, s.mine
			m.suspects = slices.Delete(m.suspects, i, i+1)
			m.died(place, mine)
			continue
		}
		if s.stage++; s.stage > opinions {
			s.due = s.end
			continue
		}
		if s.due = m.now + (s.end-m.now)/3; s.stage == 1 && s.mine {
			m.tellSuspicion(s.place)
		}
		m.secondOpinion(s.place)
	}
}

// opinions is how often helpers are asked in one suspicion, others each time.
const opinions = 2

// secondOpinion asks a suspect, and others whether it answers them.
func (m *Machine) secondOpinion(place int32) {
	n := &m.table.members[place]
	if !n.direct() || len(m.attempts) >= maxAttempts {
		return
	}
	m.attempts = append(m.attempts, attempt{place: place, stage: 3, second: true, nonce: m.random.Uint64(), sent: m.now, due: m.now + int64(m.c.Timing.Suspicion)})
	a := &m.attempts[len(m.attempts)-1]
	m.askHelpers(a, helpers)
	m.sendProbe(n, a.nonce)
}

// died gives a node up.
func (m *Machine) died(place int32, tell bool) {
	if !m.table.members[place].alive() {
		return
	}
	m.table.setState(place, stateDead)
	m.stats.Deaths++
	m.tableChanged()
	m.remember(place)
	m.tell(Died, place)
	n := &m.table.members[place]
	if tell {
		m.group(m.seal(KindGone, 0, m.appendProof(nil, m.table.ids[place], n.incarnation, n.counter)))
	}
	m.passOn(place)
}

// suspected hears of another's suspicion.
func (m *Machine) suspected(body []byte) error {
	if len(body) != proofSize {
		return ErrBody
	}
	id, incarnation, _ := parseProof(body)
	if id == m.c.Node {
		if m.refute(incarnation); incarnation == m.c.Incarnation && !m.c.Client {
			m.reply(m.beacon(0)) // a group may not reach the accuser
		}
		return nil
	}
	place := m.table.find(&id)
	if place < 0 {
		return nil
	}
	n := &m.table.members[place]
	if n.state == stateAlive && n.incarnation == incarnation && n.direct() {
		m.suspect(place, int64(m.c.Timing.Suspicion), false)
	}
	return nil
}

// refute tells everybody that this node lives, several times: whoever misses
// them all takes it for dead.
func (m *Machine) refute(incarnation uint64) {
	if incarnation != m.c.Incarnation || m.c.Client {
		return
	}
	m.stats.Refuted++
	if m.refuteAt == never {
		m.refuteAt = max(m.now, m.lastGroup+int64(m.c.Timing.Suspicion)/20)
	}
	m.refuting = 4
	m.wake(m.refuteAt)
}

// reportedGone hears that another has given nodes up. Who is suspected here, too,
// is given up in its own time, which is nearly the same: the other may be who
// can't hear it. Those that are not suspected get a short time to answer.
func (m *Machine) reportedGone(body []byte) error {
	if len(body) == 0 || len(body)%proofSize != 0 {
		return ErrBody
	}
	for ; len(body) > 0; body = body[proofSize:] {
		id, incarnation, counter := parseProof(body)
		if id == m.c.Node {
			m.refute(incarnation)
			continue
		}
		place := m.table.find(&id)
		if place < 0 {
			continue
		}
		n := &m.table.members[place]
		switch {
		case !n.alive() || n.incarnation != incarnation:
		case !n.direct():
			if counter >= n.counter {
				m.died(place, false)
			}
		case !m.in.From.IsValid(): // it is known better here
		case n.state == stateSuspect:
		case m.now-n.heard > int64(m.c.Timing.Patience):
			m.suspect(place, 4*int64(m.c.Timing.Patience), false)
			m.secondOpinion(place)
		}
	}
	return nil
}
