package identity

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
	"time"
)

// issuerIn makes a cluster in a directory and its issuer, at the tests' time.
func issuerIn(t *testing.T) (dir string, i *Issuer) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "id")
	_, err := IssueToken(dir, epoch, time.Hour, 0, "")
	must(t, err)
	tr, err := LoadTrust(dir)
	must(t, err)
	i, err = NewIssuer(dir, tr, 30*24*time.Hour)
	must(t, err)
	i.now = func() time.Time { return epoch }
	return dir, i
}

func TestEnrolment(t *testing.T) {
	dir, i := issuerIn(t)
	token := func(uses uint32) *Token {
		tk, err := IssueToken(dir, epoch, time.Hour, uses, "")
		must(t, err)
		return tk
	}
	joins := func(tk *Token, node byte) Evidence {
		m, err := tk.Join(numbered(node).ID(), epoch)
		must(t, err)
		return Evidence{Membership: m}
	}
	once, twice, any, revoked := token(1), token(2), token(0), token(0)
	must(t, RevokeToken(dir, revoked.Grant.Serial, epoch))
	must(t, func() error { _, err := RevokeIn(dir, numbered(66).ID(), epoch); return err }())
	foreign := joins(testToken(1), 10)
	late, err := any.Join(numbered(11).ID(), epoch)
	must(t, err)
	forged := *late
	forged.Node = numbered(12).ID()
	for _, c := range []struct {
		name string
		node byte
		e    Evidence
		at   time.Duration
		want error
	}{
		{"a counted token", 20, joins(once, 20), 0, nil},
		{"the same node again", 20, joins(once, 20), 0, nil},
		{"another, and it is used up", 21, joins(once, 21), 0, ErrUsedUp},
		{"the first of two", 22, joins(twice, 22), 0, nil},
		{"the second of two", 23, joins(twice, 23), 0, nil},
		{"the third of two", 24, joins(twice, 24), 0, ErrUsedUp},
		{"a token that isn't counted", 25, joins(any, 25), 0, nil},
		{"nothing", 26, Evidence{}, 0, ErrUnknown},
		{"a token of another cluster", 10, foreign, 0, ErrStatement},
		{"a token that has expired", 11, Evidence{Membership: late}, 2 * time.Hour, ErrExpired},
		{"a token that was revoked", 27, joins(revoked, 27), 0, ErrRevoked},
		{"a node that was revoked", 66, joins(any, 66), 0, ErrRevoked},
		{"another node's membership", 13, Evidence{Membership: late}, 0, ErrStatement},
		{"a membership with another name in it", 12, Evidence{Membership: &forged}, 0, ErrStatement},
	} {
		t.Run(c.name, func(t *testing.T) {
			i.now = func() time.Time { return epoch.Add(c.at) }
			got, err := i.Enrol(numbered(c.node).ID(), c.e)
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if c.want != nil {
				return
			}
			b, err := got.MarshalBinary()
			must(t, err)
			var read Enrolment
			must(t, read.UnmarshalBinary(b))
			must(t, read.Verify(i.cluster.ID(), numbered(c.node).ID(), epoch))
			if read.Membership.Serial != c.e.Membership.Serial || read.Revocations == nil {
				t.Errorf("%+v", read)
			}
			if read.Verify(i.cluster.ID(), numbered(99).ID(), epoch) == nil || read.Verify(testCluster().ID(), numbered(c.node).ID(), epoch) == nil {
				t.Error("it is good for another node, or in another cluster")
			}
		})
	}
}

func TestEnrolmentIsRenewedAlsoForANewKey(t *testing.T) {
	dir, i := issuerIn(t)
	tk, err := IssueToken(dir, epoch, time.Hour, 1, "")
	must(t, err)
	old, next := numbered(1), numbered(2)
	m, err := tk.Join(old.ID(), epoch)
	must(t, err)
	first, err := i.Enrol(old.ID(), Evidence{Membership: m})
	must(t, err)
	i.now = func() time.Time { return epoch.Add(10 * 24 * time.Hour) } // the token has expired
	second, err := i.Enrol(old.ID(), Evidence{Membership: first.Membership})
	must(t, err)
	if !second.Membership.NotAfter.After(first.Membership.NotAfter) {
		t.Error("it ends no later")
	}
	s, err := NewSuccession(old, next, i.now(), 24*time.Hour)
	must(t, err)
	third, err := i.Enrol(next.ID(), Evidence{Membership: second.Membership, Successions: []*Succession{s}})
	must(t, err)
	must(t, third.Membership.Verify(i.cluster.ID(), i.now()))
	if third.Membership.Node != next.ID() {
		t.Errorf("for %v", third.Membership.Node)
	}
	// Revoking the token throws out who came by it, however often it was renewed.
	must(t, RevokeToken(dir, tk.Grant.Serial, i.now()))
	if _, err := i.Enrol(next.ID(), Evidence{Membership: third.Membership}); !errors.Is(err, ErrRevoked) {
		t.Errorf("%v", err)
	}
}

func TestSaveEnrolment(t *testing.T) {
	dir, i := issuerIn(t)
	home := filepath.Join(t.TempDir(), "node")
	k, err := LoadOrCreate(home)
	must(t, err)
	tk, err := IssueToken(dir, epoch, time.Hour, 0, "")
	must(t, err)
	must(t, RevokeToken(dir, 7, epoch))
	m, err := tk.Join(k.ID(), epoch)
	must(t, err)
	e, err := i.Enrol(k.ID(), Evidence{Membership: m})
	must(t, err)
	must(t, SaveEnrolment(home, e))
	must(t, SaveEnrolment(home, e)) // an older list, or the same, changes nothing
	c, err := LoadCredentials(home)
	must(t, err)
	tr, err := LoadTrust(home)
	must(t, err)
	if !c.Membership().Confirmed() || tr.Cluster() != i.cluster.ID() || tr.Revocations() == nil {
		t.Errorf("%+v, %v, %+v", c.Membership(), tr.Cluster(), tr.Revocations())
	}
	if _, err := NewIssuer(home, tr, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an issuer without the cluster's key: %v", err)
	}
}

func FuzzEnrolment(f *testing.F) {
	e := &Enrolment{Membership: testCluster().admit(numbered(1).ID(), 1, epoch, time.Hour)}
	b, err := e.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Enrolment
		if e.UnmarshalBinary(b) != nil {
			return
		}
		again, err := e.MarshalBinary()
		must(t, err)
		if string(again) != string(b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}
