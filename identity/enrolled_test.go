package identity

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// places is a cluster with an issuer, and nodes that hand their places on.
type places struct {
	t   *testing.T
	dir string
	i   *Issuer
	now time.Time
}

func newPlaces(t *testing.T) *places {
	p := &places{t: t, now: epoch}
	p.dir, p.i = issuerIn(t)
	p.i.now = func() time.Time { return p.now }
	return p
}

// enrols shows m for the last of keys, for which each one before vouches.
func (p *places) enrols(m *Membership, keys ...byte) (*Membership, error) {
	p.t.Helper()
	e := Evidence{Membership: m}
	for n := len(keys) - 1; n > 0; n-- {
		s, err := NewSuccession(numbered(keys[n-1]), numbered(keys[n]), p.now, MaxSuccession)
		must(p.t, err)
		e.Successions = append(e.Successions, s)
	}
	got, err := p.i.Enrol(numbered(keys[len(keys)-1]).ID(), e)
	if err != nil {
		return nil, err
	}
	return got.Membership, nil
}

// admits has key 1 enrolled by a new token.
func (p *places) admits(uses uint32, lifetime time.Duration) (*Token, *Membership) {
	p.t.Helper()
	tk, err := IssueToken(p.dir, p.now, lifetime, uses, "")
	must(p.t, err)
	m, err := tk.Join(numbered(1).ID(), p.now)
	must(p.t, err)
	m, err = p.enrols(m, 1)
	must(p.t, err)
	return tk, m
}

func (p *places) revokes(key byte) {
	p.t.Helper()
	_, err := RevokeIn(p.dir, numbered(key).ID(), p.now)
	must(p.t, err)
}

// A token for one machine makes two members at most, however its key vouches:
// the one that came, and the key that took its place.
func TestATokenForOneNodeMakesNoMore(t *testing.T) {
	for _, uses := range []uint32{1, 0} {
		p := newPlaces(t)
		_, first := p.admits(uses, time.Hour)
		members := map[byte]*Membership{1: first}
		for next := byte(2); next < 40; next++ {
			for old, m := range maps.Clone(members) {
				got, err := p.enrols(m, old, next)
				if err == nil {
					members[next] = got
				} else if !errors.Is(err, ErrPlaceTaken) {
					t.Fatalf("%d for %d: %v", next, old, err)
				}
			}
			p.now = p.now.Add(time.Minute)
		}
		if len(members) != 2 {
			t.Errorf("a token of %d uses: key 1 and those for which it vouched are %d members", uses, len(members))
		}
	}
}

func TestWhoTakesAPlace(t *testing.T) {
	const month = 30 * 24 * time.Hour // for which issuerIn's admits
	for _, c := range []struct {
		name string
		uses uint32
		play func(p *places, tk *Token, m *Membership) error
		want error
	}{
		{"the same successor again, whose answer was lost", 1, func(p *places, _ *Token, m *Membership) error {
			_, err := p.enrols(m, 1, 2)
			must(p.t, err)
			_, err = p.enrols(m, 1, 2)
			return err
		}, nil},
		{"a key that was replaced twice before it met the issuer", 1, func(p *places, _ *Token, m *Membership) error {
			_, err := p.enrols(m, 1, 2, 3)
			must(p.t, err)
			_, err = p.enrols(m, 1, 2, 3)
			return err
		}, nil},
		{"one in between, afterwards", 1, func(p *places, _ *Token, m *Membership) error {
			_, err := p.enrols(m, 1, 2, 3)
			must(p.t, err)
			_, err = p.enrols(m, 1, 2)
			return err
		}, ErrPlaceTaken},
		{"the old key renews itself", 1, func(p *places, _ *Token, m *Membership) error {
			_, err := p.enrols(m, 1, 2)
			must(p.t, err)
			_, err = p.enrols(m, 1)
			return err
		}, ErrPlaceTaken},
		{"the old key comes again by its token", 1, func(p *places, tk *Token, m *Membership) error {
			_, err := p.enrols(m, 1, 2)
			must(p.t, err)
			again, err := tk.Join(numbered(1).ID(), p.now)
			must(p.t, err)
			_, err = p.enrols(again, 1)
			return err
		}, ErrPlaceTaken},
		{"the old key comes by its token when its place is long another's", 1, func(p *places, tk *Token, m *Membership) error {
			_, err := p.enrols(m, 1, 2)
			must(p.t, err)
			p.now = p.now.Add(2 * month)
			again, err := tk.Join(numbered(1).ID(), p.now)
			must(p.t, err)
			_, err = p.enrols(again, 1)
			return err
		}, ErrUsedUp},
		{"the successor's successor, at once", 1, func(p *places, _ *Token, m *Membership) error {
			m, err := p.enrols(m, 1, 2)
			must(p.t, err)
			_, err = p.enrols(m, 2, 3)
			return err
		}, ErrPlaceTaken},
		{"the successor's successor, when the first key was revoked", 1, func(p *places, _ *Token, m *Membership) error {
			m, err := p.enrols(m, 1, 2)
			must(p.t, err)
			p.revokes(1)
			_, err = p.enrols(m, 2, 3)
			return err
		}, nil},
		{"the successor's successor, when the first key's membership has ended", 1, func(p *places, _ *Token, m *Membership) error {
			m, err := p.enrols(m, 1, 2)
			must(p.t, err)
			p.now = p.now.Add(month - time.Hour)
			m, err = p.enrols(m, 2)
			must(p.t, err)
			p.now = p.now.Add(2 * time.Hour)
			_, err = p.enrols(m, 2, 3)
			return err
		}, nil},
		{"another node by what is left of the token", 2, func(p *places, tk *Token, m *Membership) error {
			_, err := p.enrols(m, 1, 2)
			must(p.t, err)
			other, err := tk.Join(numbered(9).ID(), p.now)
			must(p.t, err)
			_, err = p.enrols(other, 9)
			return err
		}, nil},
		{"and one more", 2, func(p *places, tk *Token, m *Membership) error {
			_, err := p.enrols(m, 1, 2)
			must(p.t, err)
			for _, key := range []byte{9, 10} {
				other, err2 := tk.Join(numbered(key).ID(), p.now)
				must(p.t, err2)
				_, err = p.enrols(other, key)
			}
			return err
		}, ErrUsedUp},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlaces(t)
			tk, m := p.admits(c.uses, 6*month)
			if err := c.play(p, tk, m); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// What nobody can use any more doesn't fill the file.
func TestPlacesAreForgotten(t *testing.T) {
	p := newPlaces(t)
	tk, m := p.admits(1, time.Hour)
	_, err := p.enrols(m, 1, 2)
	must(t, err)
	lines := func() int {
		d, err := openDir(p.dir, false)
		must(t, err)
		defer d.close()
		r, err := readRegister(d, p.now, p.i.trust.current())
		must(t, err)
		return len(r)
	}
	if n := lines(); n != 2 {
		t.Errorf("%d lines for one node that was counted and has another key", n)
	}
	must(t, RevokeToken(p.dir, tk.Grant.Serial, p.now))
	_, err = p.i.trust.Reload(p.dir)
	must(t, err)
	if n := lines(); n != 0 {
		t.Errorf("%d lines of a token that was revoked", n)
	}
}

func TestARegisterThatIsWrongIsNamed(t *testing.T) {
	for name, line := range map[string]string{
		"too short":        "0000000000000001 " + numbered(1).ID().String(),
		"no serial":        "x " + numbered(1).ID().String() + " 2027-01-01T00:00:00Z",
		"no node":          "0000000000000001 cell1x 2027-01-01T00:00:00Z",
		"no time":          "0000000000000001 " + numbered(1).ID().String() + " never",
		"no former one":    "0000000000000001 " + numbered(1).ID().String() + " 2027-01-01T00:00:00Z cell1x",
		"one word too far": "0000000000000001 " + numbered(1).ID().String() + " 2027-01-01T00:00:00Z " + numbered(2).ID().String() + " x",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlaces(t)
			tk, err := IssueToken(p.dir, p.now, time.Hour, 1, "")
			must(t, err)
			must(t, os.WriteFile(filepath.Join(p.dir, fileEnrolled), []byte(line+"\n"), 0o600))
			m, err := tk.Join(numbered(1).ID(), p.now)
			must(t, err)
			if _, err := p.enrols(m, 1); !errors.Is(err, ErrText) {
				t.Errorf("%v", err)
			}
		})
	}
}
