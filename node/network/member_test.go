package network

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/netops"
)

// TestMembershipsAreRenewedByThemselves: a node that came by a token finds who
// enrols by its beacon, is confirmed there, and shows its new membership.
func TestMembershipsAreRenewedByThemselves(t *testing.T) {
	keeper := filepath.Join(t.TempDir(), "keeper")
	token, err := identity.IssueToken(keeper, time.Now(), time.Hour, 0, "")
	must(t, err)
	w := &town{t, token}
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

// TestWhoCanNotBeReachedIsCalledByARelay: a node that tells no address of its own
// waits at another one, whose address its beacons tell, and is called there.
func TestWhoCanNotBeReachedIsCalledByARelay(t *testing.T) {
	w := newTown(t)
	home := func() string {
		dir := filepath.Join(t.TempDir(), "id")
		_, err := identity.Join(dir, w.token, time.Now())
		must(t, err)
		return dir
	}
	relay := w.start(free(t), home(), nil, func(c *config.Network) { c.Relay = true })
	hidden := w.start(free(t), home(), []string{"ledger"}, func(c *config.Network) {
		c.Addresses, c.Peers, c.WaitAt = nil, []string{relay.addr}, []string{relay.addr}
	})
	caller := w.settle(nil, relay.addr)
	caller.opens("ledger")
	eventually(t, "its beacon tells the relay", func() bool {
		list, err := caller.net.Operations().Path(t.Context(), netops.Name{Cell: "ledger"})
		return err == nil && len(list.Paths) > 0
	})
	status, err := caller.calls("ledger").Status(t.Context())
	if err != nil || status.Name != hidden.addr {
		t.Fatalf("%+v, %v", status, err)
	}
	list, err := caller.net.Operations().Path(t.Context(), netops.Name{Cell: "ledger"})
	must(t, err)
	if len(list.Paths) != 1 || list.Paths[0].Medium != MediumRelay || list.Paths[0].Addr != relay.addr || !list.Paths[0].InUse {
		t.Errorf("paths: %+v", list.Paths)
	}
}
