package quic

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/identity"
)

// enroller is an endpoint on the node that holds a cluster's key.
func enroller(t *testing.T) (dir string, e *Endpoint) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "id")
	_, err := identity.IssueToken(dir, time.Now(), time.Hour, 0, "")
	must(t, err)
	c, err := identity.LoadCredentials(dir)
	must(t, err)
	tr, err := identity.LoadTrust(dir)
	must(t, err)
	i, err := identity.NewIssuer(dir, tr, 0)
	must(t, err)
	e, err = Listen("127.0.0.1:0", c, tr, &Options{Enrol: i.Enrol})
	must(t, err)
	t.Cleanup(func() { _ = e.Close() })
	return dir, e
}

// comes returns a node that comes by a token.
func comes(t *testing.T, node byte, tk *identity.Token) *identity.Credentials {
	t.Helper()
	c, err := identity.NewCredentials(numbered(node))
	must(t, err)
	m, err := tk.Join(c.ID(), time.Now())
	must(t, err)
	must(t, c.SetMembership(m))
	return c
}

func TestEnrol(t *testing.T) {
	dir, e := enroller(t)
	tk, err := identity.IssueToken(dir, time.Now(), time.Hour, 1, "")
	must(t, err)
	c := comes(t, 1, tk)
	trust := &identity.Trust{}
	must(t, trust.SetCluster(tk.Grant.Cluster))
	node, err := Listen("127.0.0.1:0", c, trust, nil)
	must(t, err)
	defer node.Close()
	if _, err := node.Dial(soon(t), e.Addr().String(), identity.ID{}, nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "counted") {
		t.Errorf("by a counted token alone: %v", err)
	}
	made, err := Enrol(soon(t), e.Addr().String(), c)
	must(t, err)
	must(t, c.SetMembership(made.Membership))
	x, err := node.Dial(soon(t), e.Addr().String(), identity.ID{}, nil)
	must(t, err)
	y, err := e.Accept(soon(t))
	must(t, err)
	works(t, x, y)
	again, err := Enrol(soon(t), e.Addr().String(), c) // renewed
	must(t, err)
	if !again.Membership.Confirmed() {
		t.Error("not confirmed")
	}
	if _, err := Enrol(soon(t), e.Addr().String(), comes(t, 2, tk)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "used up") {
		t.Errorf("a second node by a token for one: %v", err)
	}
	// Once the token is revoked its node is thrown out.
	must(t, identity.RevokeToken(dir, tk.Grant.Serial, time.Now()))
	_, err = e.trust.Reload(dir)
	must(t, err)
	eventually(t, "the end", func() bool { return x.CheckPeer() != nil })
	if _, err := Enrol(soon(t), e.Addr().String(), c); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("revoked: %v", err)
	}
}

func TestWhoIsNotEnrolled(t *testing.T) {
	dir, e := enroller(t)
	good, err := identity.IssueToken(dir, time.Now(), time.Hour, 0, "")
	must(t, err)
	other := identity.ClusterFromSeed([32]byte{3})
	foreign, err := other.NewToken(time.Now(), time.Hour, 0)
	must(t, err)
	stranger := listen(t, 7, nil)
	if _, err := Enrol(soon(t), stranger.Addr().String(), comes(t, 1, good)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "enrols nobody") {
		t.Errorf("at a node that enrols nobody: %v", err)
	}
	// A node trusts only an issuer of its token's cluster.
	if _, err := Enrol(soon(t), e.Addr().String(), comes(t, 1, foreign)); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("at another cluster: %v", err)
	}
	none, err := identity.NewCredentials(numbered(1))
	must(t, err)
	if _, err := Enrol(soon(t), e.Addr().String(), none); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("without anything: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Enrol(short, "127.0.0.1:9", comes(t, 1, good)); err == nil {
		t.Error("where nobody is")
	}
}
