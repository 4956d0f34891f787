package discovery

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
	"unique"
)

// state is what is believed of a node in the table.
type state uint8

const (
	stateFree  state = iota // the place is empty
	stateHeard              // it spoke, and its beacon isn't known (yet)
	stateAlive
	stateSuspect
	stateDead // remembered, so that it can be looked for and not be replayed
	stateLeft
)

// member is what is remembered of one node: a cache line, since there may be many.
type member struct {
	beacon      *Beacon // newest; nil: none yet
	addr        unique.Handle[netip.AddrPort]
	incarnation uint64
	counter     uint64 // the highest seen
	window      uint64 // bit i: counter-i was seen
	heard       int64  // ns, the last proof of life
	tried       uint32 // ms, modulo 2^32, when it was last asked for its beacon
	ahead       uint32 // µs, likewise, until when its share of the budget is spent; see share
	rtt         uint16 // in rttUnits, smoothed; 0 unknown
	state       state
	trust       Trust
	hops        uint8 // reliable links between it and here; 0 if heard here
	tries       uint8 // unanswered queries
	answered    bool  // its wish for our beacon was granted
	outside     bool  // it reaches this node as a seed, and no group reaches it
}

// rttUnit is what round trips are remembered in: up to a second.
const rttUnit = int64(16 * time.Microsecond)

var nowhere unique.Handle[netip.AddrPort]

func (m *member) direct() bool { return m.addr != nowhere }

// at is where it was heard; invalid if it wasn't.
func (m *member) at() netip.AddrPort {
	if m.addr == nowhere {
		return netip.AddrPort{}
	}
	return m.addr.Value()
}
func (m *member) alive() bool { return m.state == stateAlive || m.state == stateSuspect }

// table holds the nodes by ID. Places are stable; the index is an open-addressed
// hash table of their numbers, four bytes an entry where a map takes sixty.
type table struct {
	ids     []ID
	members []member
	free    []int32
	slots   []int32 // place+1; 0 empty
	seed    uint64
	used    int
	order   order
	outside []int32 // places of those whose member.outside is set, in the order of that
	alive   int     // living, heard directly or not
	// XOR of the hashes of the living, all of them and by the first byte of the ID.
	hash  uint32
	parts [syncParts]uint32
}

func (t *table) init(seed uint64, expected int) {
	t.seed = seed | 1
	slots := 64
	for slots < 2*expected {
		slots *= 2
	}
	t.slots = make([]int32, slots)
	t.ids, t.members, t.order.places = make([]ID, 0, expected), make([]member, 0, expected), make([]int32, 0, expected)
}

func (t *table) home(id *ID) int {
	h := (binary.LittleEndian.Uint64(id[:]) ^ t.seed) * 0x9e3779b97f4a7c15
	h ^= h >> 32
	return int(h*t.seed>>20) & (len(t.slots) - 1)
}

// find returns the place of id, or -1.
func (t *table) find(id *ID) int32 {
	for i := t.home(id); t.slots[i] != 0; i = (i + 1) & (len(t.slots) - 1) {
		if place := t.slots[i] - 1; t.ids[place] == *id {
			return place
		}
	}
	return -1
}

// add makes a place for id, which is not there.
func (t *table) add(id *ID) int32 {
	if 2*(t.used+1) > len(t.slots) {
		t.slots = make([]int32, 2*len(t.slots))
		for place := range t.members {
			if t.members[place].state != stateFree {
				t.enter(int32(place))
			}
		}
	}
	var place int32
	if n := len(t.free); n > 0 {
		place, t.free = t.free[n-1], t.free[:n-1]
	} else {
		place = int32(len(t.members))
		t.members, t.ids = append(roomier(t.members), member{}), append(roomier(t.ids), ID{})
	}
	t.members[place] = member{state: stateHeard}
	t.ids[place] = *id
	t.enter(place)
	t.used++
	return place
}

// roomier returns s with room for more, a sixteenth at most, since large tables
// are most of what a node needs.
func roomier[T any](s []T) []T {
	if len(s) < cap(s) {
		return s
	}
	return append(make([]T, 0, len(s)+len(s)/16+8), s...)
}

func (t *table) enter(place int32) {
	i := t.home(&t.ids[place])
	for t.slots[i] != 0 {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = place + 1
}

// remove frees a place whose node is not alive.
func (t *table) remove(place int32) {
	t.setOutside(place, false)
	mask := len(t.slots) - 1
	i := t.home(&t.ids[place])
	for t.slots[i] != place+1 {
		i = (i + 1) & mask
	}
	// What follows moves up, unless it would land before its home.
	for j := i; ; {
		j = (j + 1) & mask
		if t.slots[j] == 0 {
			break
		}
		if home := t.home(&t.ids[t.slots[j]-1]); (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = 0
	t.members[place], t.ids[place] = member{}, ID{}
	t.free = append(t.free, place)
	t.used--
}

func compare(a, b *ID) int {
	for i := 0; i < len(a); i += 8 {
		x, y := binary.BigEndian.Uint64(a[i:]), binary.BigEndian.Uint64(b[i:])
		if x < y {
			return -1
		} else if x > y {
			return 1
		}
	}
	return 0
}

// setState changes what is believed of a node, with all that hangs on it.
func (t *table) setState(place int32, s state) {
	m := &t.members[place]
	was, is := m.alive(), s == stateAlive || s == stateSuspect
	m.state = s
	if was == is {
		return
	}
	t.changeHash(place, hashOf(m.beacon))
	if is {
		t.alive++
	} else {
		t.alive--
	}
	if m.direct() {
		t.reorder(place, is)
	}
}

// setBeacon replaces a node's beacon.
func (t *table) setBeacon(place int32, b *Beacon) {
	m := &t.members[place]
	if m.alive() {
		t.changeHash(place, hashOf(m.beacon)^hashOf(b))
	}
	m.beacon = b
}

// changeHash adds a node's hash to the table's, or takes it away.
func (t *table) changeHash(place int32, by uint32) {
	if by != 0 {
		t.hash ^= by
		t.parts[t.ids[place][0]] ^= by
	}
}

// setOutside notes whether a node reaches this one as a seed and no group reaches
// it.
func (t *table) setOutside(place int32, outside bool) {
	m := &t.members[place]
	if m.outside == outside {
		return
	}
	if m.outside = outside; outside {
		t.outside = append(t.outside, place)
	} else {
		t.outside = slices.DeleteFunc(t.outside, func(p int32) bool { return p == place })
	}
}

// setAddr notes from where a node was heard.
func (t *table) setAddr(place int32, a netip.AddrPort) {
	m := &t.members[place]
	if m.at() == a {
		return
	}
	was := m.direct()
	m.addr = unique.Make(a)
	if m.alive() && was != m.direct() {
		t.reorder(place, m.direct())
	}
}

// hashOf is what a beacon adds to the digest of a table.
func hashOf(b *Beacon) uint32 { return hashNode(&b.Node, b.Incarnation, b.Revision) }

// hashNode changes with the node's incarnation and revision.
func hashNode(id *ID, incarnation uint64, revision uint32) uint32 {
	h := binary.LittleEndian.Uint64(id[8:]) ^ incarnation*0x9e3779b97f4a7c15 ^ uint64(revision)*0xd6e8feb86659fd93
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	return uint32(h)
}

// victim returns the place to give up for a newcomer of class c: the least
// trusted first, among equals the one that was heard longest ago. It returns -1
// if nobody is worth less than the newcomer, so that no number of newcomers
// replaces all.
func (t *table) victim(c int) int32 {
	best, class := int32(-1), c
	for i := range t.members {
		m := &t.members[i]
		if m.state == stateFree {
			continue
		}
		if k := m.class(); k < class || k == class && best >= 0 && m.heard < t.members[best].heard {
			best, class = int32(i), k
		}
	}
	return best
}

// class orders nodes by what is lost with them.
func (m *member) class() int { return classOf(m.state, m.direct(), m.trust) }

func classOf(s state, direct bool, t Trust) int {
	m := &member{state: s}
	switch {
	case m.state == stateHeard:
		return 0
	case !m.alive():
		return 1
	case !direct:
		return 2 + int(t)
	}
	return 6 + int(t)
}
