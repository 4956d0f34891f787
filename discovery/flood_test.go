package discovery

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// peer is a machine with where it is.
type peer struct {
	*Machine
	id   ID
	addr netip.AddrPort
}

func newPeer(t testing.TB, number byte, c Config) *peer {
	t.Helper()
	signer, id := testKey(number)
	c.Node, c.Signer, c.Incarnation, c.Seed = id, signer, 1, uint64(number)
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return &peer{m, id, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, number}), 7)}
}

// cable carries what machines send to each other, at once.
type cable struct {
	now   Instant
	peers []*peer
	told  []Event // what the first is told
	see   func(from *peer, a *Action)
}

func (c *cable) step(p *peer, in *Packet) {
	actions := p.Step(c.now, in)
	type sent struct {
		to   *peer
		data []byte
		all  bool
	}
	var out []sent
	for i := range actions {
		if c.see != nil {
			c.see(p, &actions[i])
		}
		switch a := &actions[i]; a.Kind {
		case SendGroup, SendTo:
			for _, q := range c.peers {
				if q != p && (a.Kind == SendGroup || a.To == q.addr) {
					out = append(out, sent{q, a.Data, a.Kind == SendGroup})
				}
			}
		case Tell:
			if p == c.peers[0] {
				c.told = append(c.told, a.Event)
			}
		}
	}
	for _, s := range out {
		c.step(s.to, &Packet{Data: s.data, From: p.addr, Group: s.all})
	}
}

// pass lets time go by.
func (c *cable) pass(d time.Duration) {
	for end := c.now.Mono + int64(d); c.now.Mono < end; {
		c.now.Mono += int64(time.Millisecond)
		c.now.Wall++
		for _, p := range c.peers {
			if p.Next() <= c.now.Mono {
				c.step(p, nil)
			}
		}
	}
}

// TestFloods sends a node a hundred thousand spoiled pheromones in each of three
// seconds, with CELL_SOAK=1 a million, of every kind that an attacker can make. It
// must keep nothing of them, do little for each, and go on hearing its peer, and
// being heard.
func TestFloods(t *testing.T) {
	const seconds = 3
	rate := 100_000
	if soak() {
		rate = 1_000_000
	}
	stranger, strangersID := testKey(200)
	for name, attack := range map[string]struct {
		cluster Cluster
		// packet returns the i-th of the flood; good is a beacon that was heard.
		packet func(good []byte, now Instant, i int) []byte
	}{
		"truncated":                      {cluster: NewCluster(goldenSecret), packet: func(good []byte, _ Instant, i int) []byte { return good[:i%len(good)] }},
		"oversized":                      {cluster: NewCluster(goldenSecret), packet: oversizedPacket()},
		"of another cluster":             {cluster: NewCluster(goldenSecret), packet: changedPacket(8)},
		"replayed":                       {cluster: NewCluster(goldenSecret), packet: func(good []byte, _ Instant, _ int) []byte { return good }},
		"forged, without a key":          {cluster: NewCluster(goldenSecret), packet: changedPacket(60)},
		"forged, the cluster has no key": {cluster: NamedCluster("flooded"), packet: newerPacket()},
		"of strangers, well signed": {cluster: NamedCluster("flooded"), packet: func() func([]byte, Instant, int) []byte {
			s := NewSealer(NamedCluster("flooded"), strangersID, stranger)
			return func(_ []byte, now Instant, i int) []byte {
				if i%100 > 0 { // signing is dear for the attacker, too
					return nil
				}
				p, err := s.Seal(&Envelope{Kind: KindBeacon, Incarnation: 1, Counter: uint64(i + 1), Issued: uint64(now.Wall)}, nil)
				if err != nil {
					panic(err)
				}
				return p
			}
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			members := map[ID]bool{}
			c := Config{Cluster: attack.cluster, Trust: func(id ID) Trust {
				if members[id] {
					return ByName
				}
				return Distrusted
			}}
			victim, honest := newPeer(t, 1, c), newPeer(t, 2, c)
			members[victim.id], members[honest.id] = true, true
			w := &cable{now: Instant{Mono: 1, Wall: 1_700_000_000_000}, peers: []*peer{victim, honest}}
			w.pass(5 * time.Second)
			if !victim.Alive(honest.id) || !honest.Alive(victim.id) {
				t.Fatal("they do not know each other")
			}
			good := bytes.Clone(victim.Peers()[0].Beacon.raw)
			w.told = nil
			before, heap := victim.Stats(), heapNow()
			var spent time.Duration
			count := 0
			attacker := netip.MustParseAddrPort("198.51.100.1:9")
			for range seconds * 1000 { // milliseconds
				w.pass(time.Millisecond)
				begun := time.Now()
				for range rate / 1000 {
					if p := attack.packet(good, w.now, count); p != nil {
						w.step(victim, &Packet{Data: p, From: attacker, Group: true})
					}
					count++
				}
				spent += time.Since(begun)
			}
			grown := int64(heapNow()) - int64(heap)
			after := victim.Stats()
			t.Logf("%v a packet, %d KiB more memory, %d signatures looked at", spent/time.Duration(count), grown>>10, after.Drops.Signature-before.Drops.Signature)
			if grown > 1<<20 {
				t.Errorf("memory grew by %d bytes", grown)
			}
			if after.Peers != before.Peers {
				t.Errorf("%d nodes in the table, not %d", after.Peers, before.Peers)
			}
			if n := after.Drops.Signature - before.Drops.Signature; n > uint64((seconds+1)*victim.c.Limits.VerifyOther) {
				t.Errorf("%d signatures were looked at, for a flood", n)
			}
			for _, e := range w.told {
				t.Errorf("in the flood the victim was told: %v %s", e.Kind, e.Peer.ID.Short())
			}
			if !victim.Alive(honest.id) || !honest.Alive(victim.id) || honest.Stats().Suspicions > 0 {
				t.Error("the honest one was lost")
			}
			if after.Received[KindProbe]+after.Received[KindAck] == before.Received[KindProbe]+before.Received[KindAck] {
				t.Error("nothing of the honest one was accepted in the flood")
			}
		})
	}
}

// TestAMemberThatFloodsSilencesNobody: a member, or who is where it is and has the
// cluster's key, may send whatever it likes. The others are heard as ever.
func TestAMemberThatFloodsSilencesNobody(t *testing.T) {
	c := Config{Cluster: NamedCluster("flooded"), Trust: func(ID) Trust { return ByName }}
	c.Limits.VerifyKnown = 300 // which the flood is far above
	victim, honest, flooder := newPeer(t, 1, c), newPeer(t, 2, c), newPeer(t, 3, c)
	w := &cable{now: Instant{Mono: 1, Wall: 1_700_000_000_000}, peers: []*peer{victim, honest, flooder}}
	w.pass(5 * time.Second)
	var good []byte
	for _, p := range victim.Peers() {
		if p.ID == flooder.id {
			good = bytes.Clone(p.Beacon.raw)
		}
	}
	if good == nil || !victim.Alive(honest.id) {
		t.Fatal("they do not know each other")
	}
	w.told = nil
	packet, before := newerPacket(), victim.Stats()
	const seconds = 5
	for i := range seconds * 1000 { // milliseconds
		for k := range 10 {
			w.step(victim, &Packet{Data: packet(good, w.now, i*10+k), From: flooder.addr})
		}
		w.pass(time.Millisecond)
	}
	for _, e := range w.told {
		if e.Peer.ID == honest.id {
			t.Errorf("the victim was told: the honest one %v", e.Kind)
		}
	}
	if !victim.Alive(honest.id) || !honest.Alive(victim.id) || victim.Stats().Suspicions > 1 { // of the flooder
		t.Errorf("the honest one was lost, or suspected: %+v", victim.Stats())
	}
	if n := victim.Stats().Drops.Signature - before.Drops.Signature; n > uint64((seconds+2)*victim.c.Limits.VerifyKnown) {
		t.Errorf("%d signatures were looked at in %d s", n, seconds)
	}
}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func changedPacket(at int) func([]byte, Instant, int) []byte {
	var p []byte
	return func(good []byte, _ Instant, i int) []byte {
		p = append(p[:0], good...)
		binary.LittleEndian.PutUint32(p[at:], binary.LittleEndian.Uint32(p[at:])+uint32(i)+1)
		return p
	}
}

// newerPacket passes all checks but that of the signature.
func newerPacket() func([]byte, Instant, int) []byte {
	var p []byte
	return func(good []byte, now Instant, i int) []byte {
		p = append(p[:0], good...)
		binary.LittleEndian.PutUint64(p[56:], 1<<40+uint64(i))
		binary.LittleEndian.PutUint64(p[72:], uint64(now.Wall))
		return p
	}
}

func oversizedPacket() func([]byte, Instant, int) []byte {
	p := make([]byte, MaxPacket+1)
	return func(good []byte, _ Instant, _ int) []byte {
		copy(p, good)
		binary.LittleEndian.PutUint16(p[6:], uint16(len(p)))
		return p
	}
}

// TestEviction: where the table is full, those that are worth least go first, and
// no number of newcomers replaces who is worth as much.
func TestEviction(t *testing.T) {
	trust := map[ID]Trust{}
	c := Config{Cluster: NamedCluster("small"), Trust: func(id ID) Trust { return trust[id] }}
	c.Limits.Peers = 4
	all := make([]*peer, 12)
	for i := range all {
		all[i] = newPeer(t, byte(i+1), c)
		trust[all[i].id] = ByKey
	}
	for _, named := range []int{0, 1, 2, 11} {
		trust[all[named].id] = ByName
	}
	w := &cable{now: Instant{Mono: 1, Wall: 1_700_000_000_000}, peers: all[:5]}
	w.pass(time.Second)
	full := func() (who []int) {
		for i, p := range all[1:] {
			if all[0].Alive(p.id) {
				who = append(who, i+1)
			}
		}
		return who
	}
	if got := full(); len(got) != 4 {
		t.Fatalf("of four others %v are there", got)
	}
	w.told = nil
	w.peers = append(w.peers, all[5:11]...) // six newcomers that are worth as much as two of those
	w.pass(2 * time.Second)
	for _, i := range []int{1, 2, 3, 4} {
		if !all[0].Alive(all[i].id) {
			t.Errorf("number %d was replaced by a newcomer that is worth as much", i)
		}
	}
	if s := all[0].Stats(); s.Drops.Full == 0 || s.Peers > 4 {
		t.Errorf("%d in the table, %d dropped for want of a place", s.Peers, s.Drops.Full)
	}
	w.peers = append(w.peers, all[11]) // one that is worth more
	w.pass(2 * time.Second)
	if !all[0].Alive(all[11].id) || !all[0].Alive(all[1].id) || !all[0].Alive(all[2].id) {
		t.Errorf("one on the list is not there: %v", full())
	}
	evicted := 0
	for _, e := range w.told {
		if e.Kind == Evicted {
			evicted++
			if trust[e.Peer.ID] != ByKey {
				t.Errorf("who is on the list was evicted")
			}
		}
	}
	if evicted == 0 {
		t.Error("nobody was evicted")
	}
}

// TestLinkUp: two machines that no datagram joins know each other over a link, and
// what each has heard; without it they are forgotten when that has expired.
func TestLinkUp(t *testing.T) {
	c := Config{Cluster: NamedCluster("apart"), Trust: func(ID) Trust { return ByName }}
	c.Limits.Links = 1
	a, b, far := newPeer(t, 1, c), newPeer(t, 2, c), newPeer(t, 3, c)
	now := Instant{Mono: 1, Wall: 1_700_000_000_000}
	joined := true
	var run func(p *peer, in *Packet)
	run = func(p *peer, in *Packet) {
		for _, action := range append([]Action(nil), p.Step(now, in)...) {
			switch {
			case action.Kind == SendLink && joined && action.Peer == b.id:
				run(b, &Packet{Data: bytes.Clone(action.Data), Over: a.id})
			case action.Kind == SendLink && joined && action.Peer == a.id:
				run(a, &Packet{Data: bytes.Clone(action.Data), Over: b.id})
			case action.Kind == SendGroup && p == b:
				run(far, &Packet{Data: bytes.Clone(action.Data), From: b.addr, Group: true})
			case action.Kind == SendGroup && p == far:
				run(b, &Packet{Data: bytes.Clone(action.Data), From: far.addr, Group: true})
			case action.Kind == SendTo && (p == b || p == far):
				for _, to := range []*peer{b, far} {
					if to != p && to.addr == action.To {
						run(to, &Packet{Data: bytes.Clone(action.Data), From: p.addr})
					}
				}
			}
		}
	}
	pass := func(d time.Duration) {
		for end := now.Mono + int64(d); now.Mono < end; {
			now.Mono += int64(10 * time.Millisecond)
			now.Wall += 10
			for _, p := range []*peer{a, b, far} {
				if p.Next() <= now.Mono {
					run(p, nil)
				}
			}
		}
	}
	pass(time.Second)
	if a.Alive(b.id) || !b.Alive(far.id) {
		t.Fatal("the two networks are not as they should be")
	}
	if !a.LinkUp(b.id) || !b.LinkUp(a.id) || !a.LinkUp(b.id) {
		t.Fatal("no link")
	}
	if a.LinkUp(far.id) {
		t.Error("more links than Limits.Links")
	}
	pass(30 * time.Second)
	if !a.Alive(b.id) || !b.Alive(a.id) || !a.Alive(far.id) || !far.Alive(a.id) {
		t.Fatalf("a knows b: %v, b a: %v, a who is behind b: %v, who is there a: %v", a.Alive(b.id), b.Alive(a.id), a.Alive(far.id), far.Alive(a.id))
	}
	for _, p := range a.Peers() {
		if want := map[ID]uint8{b.id: 1, far.id: 2}[p.ID]; p.Hops > want || p.Hops == 0 {
			t.Errorf("%s is %d links away", p.ID.Short(), p.Hops)
		}
	}
	joined = false
	a.LinkDown(b.id)
	b.LinkDown(a.id)
	if a.LinkUp(far.id); !a.LinkUp(far.id) {
		t.Error("the place of a link that ended is not free")
	}
	a.LinkDown(far.id)
	pass(10 * time.Minute)
	if a.Alive(b.id) || a.Alive(far.id) || !b.Alive(far.id) {
		t.Errorf("ten minutes after the link has ended a knows b: %v, who is behind it: %v; b its neighbour: %v", a.Alive(b.id), a.Alive(far.id), b.Alive(far.id))
	}
}
