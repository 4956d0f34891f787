package discovery

import (
	"encoding/binary"
	"slices"
	"time"
)

const (
	syncParts = 256
	// settled is for how long a table must not have changed for a difference
	// to be more than news under way.
	settled = int64(300 * time.Millisecond)
	// syncPauseMin and syncPauseMax are the times between two comparisons:
	// it doubles while they bring nothing.
	syncPauseMin = int64(200 * time.Millisecond)
	syncPauseMax = int64(10 * time.Second)
	// syncPackets is the most packets of beacons in answer to one comparison.
	syncPackets = 16
	relayHead   = 3
)

// syncing repairs differences between tables: nodes that missed something.
type syncing struct {
	changed   int64 // when the table changed last
	notBefore int64 // no comparison is begun before
	pause     int64
}

// tableChanged notes that tables may differ for a while.
func (m *Machine) tableChanged() {
	m.syncing.changed = m.now
	m.syncing.pause = syncPauseMin
	m.syncing.notBefore = min(m.syncing.notBefore, m.now+settled)
}

// compareTables looks whether the sender's table is like this one, and sends it
// a summary otherwise.
func (m *Machine) compareTables(e *Envelope) {
	if known, digest := m.digest(); e.Known == known && e.Digest == digest || e.Known == 0 {
		return
	}
	if m.now < m.syncing.notBefore || m.now-m.syncing.changed < settled || e.Kind == KindSync {
		return
	}
	m.reply(m.summary())
	m.syncing.pause = max(syncPauseMin, min(2*m.syncing.pause, syncPauseMax))
	m.syncing.notBefore = m.now + m.jitter(m.syncing.pause)
}

// summary makes a sync: a hash for each part of the table.
func (m *Machine) summary() []byte {
	sums := m.parts()
	body := make([]byte, 0, 4*syncParts)
	for _, s := range sums {
		body = binary.LittleEndian.AppendUint32(body, s)
	}
	return m.seal(KindSync, 0, body)
}

// parts are the hashes of the parts of the table, with this node's own.
func (m *Machine) parts() [syncParts]uint32 {
	sums := m.table.parts
	if !m.c.Client {
		sums[m.c.Node[0]] ^= m.ownHash
	}
	return sums
}

// synced answers a summary with what the sender lacks, or may lack: the beacons
// of the parts that differ, and which nodes of them are dead.
func (m *Machine) synced(body []byte) error {
	if len(body) != 4*syncParts {
		return ErrBody
	}
	sums := m.parts()
	var differ [syncParts]bool
	any := false
	for i := range sums {
		differ[i] = sums[i] != binary.LittleEndian.Uint32(body[4*i:])
		any = any || differ[i]
	}
	if !any {
		return nil
	}
	r := relay{m: m, send: m.reply, left: syncPackets}
	if differ[m.c.Node[0]] && !m.c.Client {
		m.reply(m.beacon(0))
	}
	var gone []byte
	first := 0
	if len(m.table.members) > 0 {
		first = m.random.IntN(len(m.table.members))
	}
	for k := range m.table.members {
		i := (first + k) % len(m.table.members)
		n := &m.table.members[i]
		if !differ[m.table.ids[i][0]] || int32(i) == m.place {
			continue
		}
		if n.alive() {
			r.add(n)
		} else if n.state == stateDead && n.beacon != nil && len(gone)+proofSize <= MaxBody {
			gone = m.appendProof(gone, m.table.ids[i], n.incarnation, n.counter)
		}
	}
	r.flush()
	if gone != nil {
		m.reply(m.seal(KindGone, 0, gone))
	}
	if m.now >= m.syncing.notBefore { // what this node may lack
		m.reply(m.summary())
		m.syncing.pause = max(syncPauseMin, min(2*m.syncing.pause, syncPauseMax))
		m.syncing.notBefore = m.now + m.jitter(m.syncing.pause)
	}
	return nil
}

// relay packs beacons of others into packets.
type relay struct {
	m    *Machine
	send func([]byte)
	body []byte
	left int // packets
}

// add packs one beacon; false if no more may be sent.
func (r *relay) add(n *member) bool {
	raw := n.beacon.raw
	if relayHead+len(raw) > MaxBody {
		return true // can't travel this way: its sender alone can tell it
	}
	if len(r.body)+relayHead+len(raw) > MaxBody {
		r.flush()
	}
	if r.left <= 0 {
		return false
	}
	r.body = append(r.body, n.hops)
	r.body = binary.LittleEndian.AppendUint16(r.body, uint16(len(raw)))
	r.body = append(r.body, raw...)
	return true
}

func (r *relay) flush() {
	if len(r.body) > 0 && r.left > 0 {
		if r.m.relaying.take(r.m.now) {
			r.send(r.m.seal(KindRelay, 0, r.body))
		}
		r.left--
	}
	r.body = r.body[:0]
}

// relayed takes over beacons of others. Each one is checked like any: the
// sender can't change it, only withhold it.
func (m *Machine) relayed(body []byte) error {
	sender := m.place
	for len(body) > 0 {
		if len(body) < relayHead || int(binary.LittleEndian.Uint16(body[1:])) > len(body)-relayHead {
			return ErrBody
		}
		hops, size := body[0], int(binary.LittleEndian.Uint16(body[1:]))
		if !m.in.From.IsValid() {
			hops++
		}
		if err := m.relayedOne(hops, body[relayHead:relayHead+size]); err != nil {
			m.stats.Drops.count(err)
		}
		body = body[relayHead+size:]
	}
	m.place = sender
	return nil
}

func (m *Machine) relayedOne(hops uint8, p []byte) error {
	var e Envelope
	body, err := m.opener.Open(p, &e, m.screenRelayed)
	if err != nil {
		return err
	}
	if e.Kind != KindBeacon || hops > min(e.Hops, m.c.Limits.Hops) {
		return ErrBody
	}
	place := m.table.find(&e.Node)
	if place < 0 {
		t, err := m.prove(&e, body)
		if err != nil {
			return err
		}
		if place = m.admit(&e.Node, false, t); place < 0 {
			return errFull
		}
		m.table.members[place].hops = max(hops, 1)
	}
	n := &m.table.members[place]
	if !n.direct() {
		n.hops = hops
	}
	n.saw(e.Incarnation, e.Counter)
	n.heard = m.now
	if err := m.learn(place, &e, body, p); err != nil {
		return err
	}
	if n.alive() && !n.direct() {
		if n.tries == 0 && len(m.lost) < maxLost {
			m.askDirectly(n)
			m.remember(place)
		}
		m.passOn(place)
	}
	return nil
}

// screenRelayed judges a beacon that another node hands on: it may be as old as
// its lifetime, and must be newer than what is known.
func (m *Machine) screenRelayed(e *Envelope) error {
	if e.Node == m.c.Node {
		return errOwn
	}
	place := m.table.find(&e.Node)
	if m.trustIn(place, e.Node) == Distrusted {
		return ErrStranger
	}
	if place >= 0 {
		n := &m.table.members[place]
		newer := e.Incarnation > n.incarnation || e.Incarnation == n.incarnation && n.state != stateLeft &&
			(e.Counter > n.counter || n.beacon == nil)
		// A node that is heard directly has spoken since its last beacon.
		if !newer && !(n.alive() && e.Incarnation == n.incarnation && e.Revision > n.beacon.Revision) {
			return ErrReplay
		}
	}
	skew := m.c.Timing.MaxSkew.Milliseconds()
	if at := int64(e.Issued); at < 0 || at > m.wall+skew || at < m.wall-skew-1000*int64(e.Lifetime) {
		return ErrSkew
	}
	if !m.other.take(m.now) {
		return ErrRate
	}
	return nil
}

// passOn queues a node for those who may know of it through this one only.
func (m *Machine) passOn(place int32) {
	if len(m.links) == 0 && m.table.members[place].hops == 0 || len(m.forward) >= maxLost || slices.Contains(m.forward, place) {
		return
	}
	m.forward = append(m.forward, place)
}
