package discovery

import (
	"slices"
	"time"
)

// Announcements after a start or a change: at once, and again in case they are
// lost, or a switch does not forward yet; the first ones of a start ask for
// answers.
var announcements = [...]int64{0, int64(50 * time.Millisecond), int64(200 * time.Millisecond), int64(800 * time.Millisecond), int64(4 * time.Second), int64(15 * time.Second)}

const askingAnnouncements = 3

// maxPending is how many newcomers are answered one by one; one datagram to all
// answers any number.
const maxPending = 64

// loadStep is by how much a load must change to be announced before its time.
const loadStep = 64

// announcing is when others are told of this node.
type announcing struct {
	self      *Beacon
	at        int64
	number    int  // of announcements since the last start or change
	asking    bool // the node is new
	refuting  int  // further announcements against a suspicion
	refuteAt  int64
	lastGroup int64
	pending   []int32 // places of newcomers who want a beacon
	answerAt  int64
}

// restartAnnouncing begins with the first announcement again.
func (m *Machine) restartAnnouncing(asking bool) {
	m.number, m.asking = 0, asking
	m.announcing.at = m.now
	m.refuteAt = never
	m.answerAt = never
	m.lastGroup = m.now - int64(time.Second)
	m.wake(m.now)
}

// Set says what the node's beacons tell from now on. A change is announced at
// the next Step, which should follow at once; of loads only large changes, and
// at most one in 5 s. The error wraps [ErrBody].
func (m *Machine) Set(addresses []Address, services []Service) error {
	next := &Beacon{Name: m.self.Name, Host: m.self.Host, Addresses: addresses, Services: services, Credentials: m.c.Credentials()}
	next.Node, next.Revision = m.self.Node, m.self.Revision
	if _, err := next.appendBody(nil); err != nil {
		return err
	}
	before := m.self
	if !sameBut(before, next) {
		next.Revision++
		m.describe(next)
		if m.started() {
			m.number, m.announcing.at = 0, m.now
			m.wake(m.now)
		}
		return nil
	}
	m.describe(next)
	for i := range before.Services {
		if d := int(before.Services[i].Load) - int(next.Services[i].Load); (d >= loadStep || d <= -loadStep) && m.started() {
			m.announcing.at = min(m.announcing.at, m.lastGroup+int64(5*time.Second))
			m.wake(m.announcing.at)
		}
	}
	return nil
}

func (m *Machine) started() bool { return m.counter > 0 }

// sameBut compares all of two beacons but loads.
func sameBut(a, b *Beacon) bool {
	return slices.Equal(a.Addresses, b.Addresses) &&
		slices.EqualFunc(a.Services, b.Services, func(x, y Service) bool {
			return x.Name == y.Name && x.Draining == y.Draining &&
				slices.Equal(x.Fingerprints, y.Fingerprints) && slices.Equal(x.Ancestors, y.Ancestors)
		})
}

// quiet is the time between announcements when nothing changes.
func (m *Machine) quiet() int64 {
	t := &m.c.Timing
	return int64(min(max(t.QuietMin, time.Duration(m.nodes())*t.QuietPerNode), t.QuietMax))
}

// lifetime is for how long, in seconds, what is said holds without renewal.
func (m *Machine) lifetime() uint16 {
	return uint16(min(3*m.quiet()/int64(time.Second)+10, 65535))
}

// reunite announces this node because one that was taken for dead is back. If it
// is one of many, then a partition has healed, and this node was lost to the
// others as they were to it.
func (m *Machine) reunite() {
	if m.c.Client || 4*(len(m.lost)+1) < m.nodes() || m.now-m.lastGroup < int64(time.Second) {
		return
	}
	m.announcing.at = min(m.announcing.at, m.now+m.random.Int64N(int64(m.nodes())*int64(time.Millisecond)+1))
	m.number = len(announcements) - 2 // this one, and once more
	m.wake(m.announcing.at)
}

// beacon returns this node's beacon, signed anew. A client's says no more than
// who asks.
func (m *Machine) beacon(flags uint8) []byte {
	b := *m.self
	b.Kind, b.Flags, b.Credentials = KindBeacon, flags, m.c.Credentials()
	m.fill(&b.Envelope)
	p, err := m.sealer.SealBeacon(&b)
	if err != nil {
		return m.seal(KindBeacon, flags, nil) // Set has refused such
	}
	return p
}

// announce tells everybody, if it is time.
func (m *Machine) announce() {
	if m.refuteAt <= m.now {
		if m.refuting--; m.refuting > 0 {
			m.refuteAt = m.now + int64(m.c.Timing.Suspicion)/5
		} else {
			m.refuteAt = never
		}
		m.groupBeacon(0)
	}
	if m.announcing.at <= m.now {
		var flags uint8
		if (m.asking || m.c.Client) && m.number < askingAnnouncements {
			flags = FlagAsk
		}
		m.groupBeacon(flags)
		m.number++
		if m.c.Client && m.number == askingAnnouncements {
			m.announcing.at = never // from now on it listens
		} else if m.number < len(announcements) {
			m.announcing.at = m.now + m.jitter(announcements[m.number]-announcements[m.number-1])
		} else {
			m.announcing.at = m.now + m.jitter(m.quiet())
		}
	}
}

// groupBeacon tells everybody, and with that answers whoever is waiting.
func (m *Machine) groupBeacon(flags uint8) {
	p := m.beacon(flags)
	m.group(p)
	for i := range m.links {
		m.link(m.links[i].peer, p)
	}
	m.lastGroup = m.now
	for _, place := range m.pending {
		n := &m.table.members[place]
		n.answered = true
		if n.outside && !n.alive() { // group tells only members
			m.to(n.at(), p)
		}
	}
	m.pending, m.answerAt = m.pending[:0], never
}

// asked notes that a newcomer wants this node's beacon. Answers are spread out
// in time so that they don't drown it.
func (m *Machine) asked(place int32, again bool) {
	n := &m.table.members[place]
	if m.c.Client || n.answered && !again || slices.Contains(m.pending, place) || len(m.pending) >= maxPending {
		return
	}
	m.pending = append(m.pending, place)
	if len(m.pending) == 1 {
		m.answerAt = m.now + m.random.Int64N(int64(m.nodes())*int64(m.c.Timing.AnswerPerNode)+1)
		m.wake(m.answerAt)
	}
}

// answer sends what newcomers want: to one alone, to several at once.
func (m *Machine) answer() {
	if m.answerAt > m.now {
		return
	}
	m.answerAt = never
	if len(m.pending) > 1 {
		m.groupBeacon(0)
		return
	}
	for _, place := range m.pending {
		n := &m.table.members[place]
		n.answered = true
		if n.direct() {
			m.to(n.at(), m.beacon(0))
		}
	}
	m.pending = m.pending[:0]
}

// queried answers a question, unless it is for a service that isn't here. One
// to all is answered like a newcomer, one to this node alone at once.
func (m *Machine) queried(e *Envelope, body []byte) error {
	if m.c.Client {
		return nil
	}
	if len(body) > 0 {
		if !validText(string(body), MaxName) {
			return ErrBody
		}
		name := string(body)
		if !slices.ContainsFunc(m.self.Services, func(s Service) bool { return s.Name == name }) {
			return nil
		}
	}
	if e.Flags&FlagAsk != 0 {
		m.asked(m.place, true)
		return nil
	}
	m.reply(m.beacon(0))
	return nil
}

// Query asks everybody for their beacons, or only those with a service of the
// name. It takes effect with the actions of the next Step.
func (m *Machine) Query(now Instant, service string) []Action {
	m.out = m.out[:0]
	m.now, m.wall = now.Mono, now.Wall
	if m.c.Client { // others may not know it yet
		m.group(m.beacon(FlagAsk))
	} else {
		m.group(m.seal(KindQuery, FlagAsk, []byte(service)))
	}
	return m.out
}

// Leave says farewell and returns what to send. The machine does nothing
// afterwards.
func (m *Machine) Leave(now Instant) []Action {
	m.out = m.out[:0]
	m.now, m.wall = now.Mono, now.Wall
	if !m.leaving && m.started() && !m.c.Client {
		for range 2 { // one may be lost
			p := m.seal(KindLeave, 0, nil)
			m.group(p)
			for i := range m.links {
				m.link(m.links[i].peer, p)
			}
		}
	}
	m.leaving, m.next = true, never
	return m.out
}

// Announce makes the next Step tell everybody anew and ask them, because they
// may be others than before: an interface has come.
func (m *Machine) Announce(now Instant) {
	if !m.leaving && m.started() {
		m.now, m.wall = now.Mono, now.Wall
		m.restartAnnouncing(!m.c.Client)
	}
}
