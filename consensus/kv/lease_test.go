package kv

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// The leases by deadline must be those by number, whatever was done to them and
// also after a snapshot: one that was left out would never end.
func TestEveryLeaseIsDue(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := New()
	for now := int64(1); now < 2000e6; now += 1e6 {
		m.expire(now)
		switch id := 1 + uint64(r.IntN(int(m.revision+1))); r.IntN(4) {
		case 0:
			m.revoke(id)
		case 1:
			m.keepAlive(id, now)
		default:
			m.grant(MinTTL+int64(r.IntN(3))*1e6, now)
		}
		checkDue(t, m, now)
	}
	f, err := m.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	copied := New()
	if err := copied.Restore(&b); err != nil {
		t.Fatal(err)
	}
	checkDue(t, copied, 2000e6)
	if len(m.leases) < 100 || len(copied.leases) != len(m.leases) || copied.next() != m.next() {
		t.Errorf("%d leases, the first due at %d; the copy has %d, at %d", len(m.leases), m.next(), len(copied.leases), copied.next())
	}
	copied.expire(1 << 62)
	if len(copied.leases) != 0 || copied.next() != 0 {
		t.Errorf("%d leases have no end", len(copied.leases))
	}
}

func checkDue(t *testing.T, m *Machine, now int64) {
	t.Helper()
	var due, all []uint64
	m.due.Ascend(func(l *lease) bool {
		if l.deadline <= now-1e6 {
			t.Errorf("at %d, lease %d is there, which was due at %d", now, l.id, l.deadline)
		}
		due = append(due, l.id)
		return true
	})
	for id := range m.leases {
		all = append(all, id)
	}
	slices.Sort(due)
	slices.Sort(all)
	if !slices.Equal(due, all) {
		t.Fatalf("at %d: leases %v, by deadline %v", now, all, due)
	}
}
