package network

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/cell-runtime/cell/identity"
)

// TestMembershipsAreRenewedByThemselves: a node that came by a token finds who
// enrols by its beacon, is confirmed there, and shows its new membership.
func TestMembershipsAreRenewedByThemselves(t *testing.T) {
	t.Parallel()
	keeper := filepath.Join(t.TempDir(), "keeper")
	token, err := identity.IssueToken(keeper, time.Now(), time.Hour, 0, "")
	must(t, err)
	w := &town{t: t, token: token}
	a := w.keeps(keeper)
	b := w.settle(nil, a.addr)
	mine := func() *identity.Membership { return b.net.self.Load().credentials.Membership() }
	if mine().Confirmed() {
		t.Fatal("it is confirmed already")
	}
	eventually(t, "it is confirmed", func() bool { return mine().Confirmed() })
	kept, err := identity.LoadCredentials(b.net.self.Load().dir)
	must(t, err)
	if !kept.Membership().Confirmed() {
		t.Error("what it got was not kept")
	}
	if mine().Serial != token.Grant.Serial {
		t.Error("the token can't be revoked any more")
	}
}

func TestWhenAMembershipIsRenewed(t *testing.T) {
	keeper := filepath.Join(t.TempDir(), "keeper")
	begun := time.Now()
	token, err := identity.IssueToken(keeper, begun, time.Hour, 0, "")
	must(t, err)
	k, err := identity.Generate()
	must(t, err)
	byToken, err := token.Join(k.ID(), begun)
	must(t, err)
	c, err := identity.LoadCluster(keeper)
	must(t, err)
	confirmed, err := c.Admit(k.ID(), begun, 100*time.Hour)
	must(t, err)
	for name, x := range map[string]struct {
		of   *identity.Membership
		at   time.Duration
		want bool
	}{
		"a token's, at once":      {byToken, 0, true},
		"young":                   {confirmed, time.Hour, false},
		"before half of its time": {confirmed, 49 * time.Hour, false},
		"after half of its time":  {confirmed, 51 * time.Hour, true},
	} {
		if got := due(x.of, begun.Add(x.at)); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
