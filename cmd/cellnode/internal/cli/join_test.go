package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/quic"
)

// TestRunJoinsOnce: a node that is started again is a member already, and takes
// nothing of a counted token.
func TestRunJoinsOnce(t *testing.T) {
	keeper := filepath.Join(t.TempDir(), "keeper")
	now := time.Now()
	token := func(lifetime time.Duration, uses uint32) *identity.Token {
		t.Helper()
		tk, err := identity.IssueToken(keeper, now, lifetime, uses, "")
		if err != nil {
			t.Fatal(err)
		}
		return tk
	}
	counted, long, short := token(time.Hour, 1), token(2*time.Hour, 0), token(time.Hour, 0)
	at := enrolsAt(t, keeper)

	home := filepath.Join(t.TempDir(), "identity")
	runs := func(text string) (*identity.Membership, error) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := joinFirst(context.Background(), &Env{}, file, config.Network{Identity: home}); err != nil {
			return nil, err
		}
		c, err := identity.LoadCredentials(home)
		if err != nil {
			t.Fatal(err)
		}
		return c.Membership(), nil
	}
	same := func(a, b *identity.Membership) bool {
		x, _ := a.MarshalText()
		y, _ := b.MarshalText()
		return string(x) == string(y)
	}

	if _, err := runs(counted.Text()); err == nil || !strings.Contains(err.Error(), "TOKEN@HOST:PORT") {
		t.Errorf("by a counted token alone: %v", err)
	}
	first, err := runs(short.Text())
	if err != nil || first.Confirmed() {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := runs(short.Text()); err != nil || !same(first, again) {
		t.Errorf("started again with the same token it joined again: %v", err)
	}
	longer, err := runs(long.Text())
	if err != nil || !longer.Until().After(first.Until()) {
		t.Errorf("a token that lasts longer was not taken: %v", err)
	}
	if back, err := runs(short.Text()); err != nil || !same(longer, back) {
		t.Errorf("a token that ends earlier was taken: %v", err)
	}
	enrolled, err := runs(counted.Text() + "@" + at)
	if err != nil || !enrolled.Confirmed() {
		t.Fatalf("enrolled: %+v, %v", enrolled, err)
	}
	if again, err := runs(counted.Text() + "@" + at); err != nil || !same(enrolled, again) {
		t.Errorf("started again it was enrolled again: %v", err)
	}
	if again, err := runs(counted.Text() + "@127.0.0.1:1"); err != nil || !same(enrolled, again) {
		t.Errorf("a member needs nobody to start: %v", err)
	}
}

// enrolsAt enrols at an address, for the cluster whose key lies in a folder.
func enrolsAt(t *testing.T, keeper string) string {
	t.Helper()
	c, err := identity.LoadCredentials(keeper)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := identity.LoadTrust(keeper)
	if err != nil {
		t.Fatal(err)
	}
	i, err := identity.NewIssuer(keeper, trust, 0)
	if err != nil {
		t.Fatal(err)
	}
	e, err := quic.Listen("127.0.0.1:0", c, trust, &quic.Options{Enrol: i.Enrol})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e.Addr().String()
}
