package discovery

import (
	"slices"
)

// gossiping exchanges tables over reliable links, for nodes that no datagram
// reaches. What one link tells goes on to the others and to the local network,
// at a bounded rate.
type gossiping struct {
	links   []linkPeer
	at      int64
	forward []int32 // places with news
}

type linkPeer struct{ peer ID }

// LinkUp tells the machine that there is a reliable link to a proven peer, over
// which it may send pheromones. It takes effect at the next Step. It returns
// false if there are too many.
func (m *Machine) LinkUp(peer ID) bool {
	if slices.Contains(m.links, linkPeer{peer}) {
		return true
	}
	if len(m.links) >= m.c.Limits.Links || m.leaving {
		return false
	}
	m.links = append(m.links, linkPeer{peer})
	m.gossiping.at = min(m.gossiping.at, m.now)
	if m.started() {
		m.wake(m.now)
	}
	return true
}

// LinkDown tells the machine that the link to a peer is gone.
func (m *Machine) LinkDown(peer ID) {
	m.links = slices.DeleteFunc(m.links, func(l linkPeer) bool { return l.peer == peer })
}

// gossip tells news on, and compares tables now and then.
func (m *Machine) gossip() {
	if m.gossiping.at > m.now {
		if len(m.forward) > 0 {
			m.sendNews()
		}
		return
	}
	for _, l := range m.links {
		m.link(l.peer, m.beacon(0))
		m.link(l.peer, m.summary())
	}
	m.gossiping.at = m.now + m.jitter(int64(m.c.Timing.Gossip))
	if len(m.links) > 0 {
		m.renew()
	}
	m.sendNews()
}

// renew queues nodes whose beacons were renewed since they were passed on, so
// that they don't expire where they are known through this node only.
func (m *Machine) renew() {
	for i := range m.table.members {
		n := &m.table.members[i]
		if n.alive() && n.hops == 0 && m.wall-int64(n.beacon.Issued) < 2*m.c.Timing.Gossip.Milliseconds() {
			m.passOn(int32(i))
		}
	}
}

// sendNews sends what is queued: to every link, and what came over a link to
// the local network, too.
func (m *Machine) sendNews() {
	links := relay{m: m, left: syncPackets, send: func(p []byte) {
		for _, l := range m.links {
			m.link(l.peer, p)
		}
	}}
	local := relay{m: m, left: syncPackets, send: m.group}
	var gone, goneLocal []byte
	n := 0
	for ; n < len(m.forward) && links.left > 0 && local.left > 0; n++ {
		place := m.forward[n]
		switch node := &m.table.members[place]; {
		case node.alive():
			links.add(node)
			if node.hops > 0 && !node.direct() {
				local.add(node)
			}
		case node.beacon != nil && len(gone)+proofSize <= MaxBody:
			gone = m.appendProof(gone, m.table.ids[place], node.incarnation, node.counter)
			if node.hops > 0 {
				goneLocal = m.appendProof(goneLocal, m.table.ids[place], node.incarnation, node.counter)
			}
		}
	}
	m.forward = slices.Delete(m.forward, 0, n)
	links.flush()
	local.flush()
	if gone != nil {
		links.send(m.seal(KindGone, 0, gone))
	}
	if goneLocal != nil {
		m.group(m.seal(KindGone, 0, goneLocal))
	}
}
