package discovery

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestTheTableAgreesWithItsMembers: what the table keeps beside its members, so
// that nobody has to look at all of them, is what looking at all of them gives.
func TestTheTableAgreesWithItsMembers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var m table
	m.init(random.Uint64(), 4)
	var places []int32
	for step := range 4000 {
		switch n := len(places); {
		case n < 3 || random.IntN(3) == 0:
			var id ID
			binary.LittleEndian.PutUint64(id[:], random.Uint64())
			place := m.add(&id)
			m.setBeacon(place, &Beacon{Envelope: Envelope{Node: id, Incarnation: 1}})
			places = append(places, place)
			if random.IntN(4) > 0 {
				m.setAddr(place, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(step >> 8), byte(step)}), 7))
			}
			m.setState(place, stateAlive)
		case random.IntN(3) > 0:
			place := places[random.IntN(n)]
			m.setState(place, []state{stateAlive, stateSuspect, stateDead, stateLeft}[random.IntN(4)])
			m.setOutside(place, random.IntN(2) == 0)
			m.setBeacon(place, &Beacon{Envelope: Envelope{Node: m.ids[place], Incarnation: 1, Revision: random.Uint32N(3)}})
		default:
			i := random.IntN(n)
			m.setState(places[i], stateDead)
			m.remove(places[i])
			places = slices.Delete(places, i, i+1)
		}
		if step < 200 || step%50 == 0 {
			agrees(t, &m)
		}
	}
}

func agrees(t *testing.T, m *table) {
	t.Helper()
	var near, outside []int32
	var parts [syncParts]uint32
	var hash uint32
	for i := range m.members {
		x := &m.members[i]
		if x.outside {
			outside = append(outside, int32(i))
		}
		if !x.alive() {
			continue
		}
		hash ^= hashOf(x.beacon)
		parts[m.ids[i][0]] ^= hashOf(x.beacon)
		if x.direct() {
			near = append(near, int32(i))
		}
	}
	any := slices.Sorted(slices.Values(m.near()))
	if !slices.Equal(any, near) {
		t.Fatalf("near: %v, not %v", any, near)
	}
	slices.SortFunc(near, func(a, b int32) int { return compare(&m.ids[a], &m.ids[b]) })
	if got := m.nearByID(); !slices.Equal(got, near) {
		t.Fatalf("by ID: %v, not %v", got, near)
	}
	if got := slices.Sorted(slices.Values(m.outside)); !slices.Equal(got, outside) {
		t.Fatalf("outside: %v, not %v", got, outside)
	}
	if m.hash != hash || m.parts != parts {
		t.Fatal("the hashes are others")
	}
}
