package identity

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestListsAreChangedInPlace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "id")
	a, b := numbered(1).ID(), numbered(2).ID()
	_, err := LoadOrCreate(dir)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, fileAllow), []byte("# ours\n"+a.String()+" first"), 0o600))
	for _, c := range []struct {
		name string
		do   func() (bool, error)
		want bool
		file string
	}{
		{"one that is there", func() (bool, error) { return AllowIn(dir, a, "again") }, false, "# ours\n" + a.String() + " first"},
		{"another", func() (bool, error) { return AllowIn(dir, b, "second one") }, true, "# ours\n" + a.String() + " first\n" + b.String() + " second one\n"},
		{"the first taken off", func() (bool, error) { return DisallowIn(dir, a) }, true, "# ours\n" + b.String() + " second one\n"},
		{"and again", func() (bool, error) { return DisallowIn(dir, a) }, false, "# ours\n" + b.String() + " second one\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.do()
			must(t, err)
			data, err := os.ReadFile(filepath.Join(dir, fileAllow))
			must(t, err)
			if got != c.want || string(data) != c.file {
				t.Errorf("%t, %q", got, data)
			}
		})
	}
	for what, name := range map[string]string{"of two lines": "a\nb", "with a comment": "a#b", "too long": strings.Repeat("x", maxNameLen+1)} {
		if _, err := AllowIn(dir, a, name); !errors.Is(err, ErrName) || !strings.Contains(err.Error(), "choose one") {
			t.Errorf("a name %s: %v", what, err)
		}
	}
	if _, err := AllowIn(dir, ID{}, ""); !errors.Is(err, ErrWeak) {
		t.Errorf("nobody: %v", err)
	}
	lines, err := AllowedIn(dir)
	if err != nil || len(lines) != 1 || !strings.HasPrefix(lines[0], b.String()) {
		t.Errorf("%q, %v", lines, err)
	}
}

func TestTokensAreRememberedAndRevoked(t *testing.T) {
	home := t.TempDir()
	dir, other := filepath.Join(home, "a"), filepath.Join(home, "b")
	if err := RevokeToken(dir, 1, epoch); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a cluster's key: %v", err)
	}
	token, err := IssueToken(dir, epoch, time.Hour, 0, "for the cellar")
	must(t, err)
	_, err = IssueToken(dir, epoch, 2*time.Hour, 3, "")
	must(t, err)
	m, err := Join(other, token, epoch)
	must(t, err)
	tr, err := LoadTrust(dir)
	must(t, err)
	tr.now = func() time.Time { return epoch }
	if p, err := tr.Check(m.Node, Evidence{Membership: m}); err != nil || p.By != ByCluster {
		t.Errorf("%+v, %v", p, err)
	}
	all, err := IssuedTokens(dir)
	must(t, err)
	if len(all) != 2 || all[0].Serial != token.Grant.Serial || all[0].Label != "for-the-cellar" || all[1].Uses != 3 || all[0].Revoked {
		t.Errorf("%+v", all)
	}
	for _, data := range []string{"tokens", "cluster", "membership"} {
		b, err := os.ReadFile(filepath.Join(dir, data))
		must(t, err)
		if strings.Contains(string(b), textToken) {
			t.Errorf("%s holds a token", data)
		}
	}

	must(t, RevokeToken(dir, token.Grant.Serial, epoch))
	if changed, err := tr.Reload(dir); !changed || err != nil {
		t.Errorf("%t, %v", changed, err)
	}
	if _, err := tr.Check(m.Node, Evidence{Membership: m}); !errors.Is(err, ErrRevoked) {
		t.Errorf("after its token was revoked: %v", err)
	}
	all, err = IssuedTokens(dir)
	must(t, err)
	if !all[0].Revoked || all[1].Revoked {
		t.Errorf("%+v", all)
	}
	// The list goes to others as it is, and a node can be added to it.
	added, err := RevokeIn(dir, numbered(5).ID(), epoch)
	if !added || err != nil {
		t.Error(added, err)
	}
	_, err = tr.Reload(dir)
	must(t, err)
	l := tr.Revocations()
	if l == nil || l.Counter != 2 || len(l.Nodes) != 1 || len(l.Serials) != 1 {
		t.Fatalf("%+v", l)
	}
	far, err := LoadTrust(other)
	must(t, err)
	if news, err := far.Learn(l); !news || err != nil {
		t.Error(news, err)
	}
}

func TestAKeyIsReplacedOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "id")
	old, err := LoadOrCreate(dir)
	must(t, err)
	_, err = RotateKey(dir, epoch, 24*time.Hour)
	must(t, err)
	s, err := RotateKey(dir, epoch.Add(time.Hour), 24*time.Hour)
	must(t, err)
	c, err := LoadCredentials(dir)
	must(t, err)
	if c.ID() != s.New || c.ID() == old.ID() {
		t.Fatalf("%v", c.ID())
	}
	tr := at(epoch.Add(2 * time.Hour))
	must(t, tr.Allow("", old.ID()))
	id, e, err := EvidenceOf(certificates(t, c))
	must(t, err)
	p, err := tr.Check(id, e)
	if err != nil || p.For != old.ID() || len(p.Formerly) != 2 || !p.Is(old.ID()) {
		t.Errorf("%+v, %v", p, err)
	}
	// Killed between the two files: the key is the old one, and its successor
	// never came to be.
	must(t, old.save(dir))
	if c, err = LoadCredentials(dir); err != nil || c.ID() != old.ID() {
		t.Errorf("%v", err)
	}
	// The next replacement leaves what never came to be in the middle.
	s, err = RotateKey(dir, epoch.Add(2*time.Hour), 24*time.Hour)
	must(t, err)
	c, err = LoadCredentials(dir)
	must(t, err)
	id, e, err = EvidenceOf(certificates(t, c))
	must(t, err)
	p, err = tr.Check(id, e)
	if err != nil || id != s.New || len(p.Formerly) != 1 || !p.Is(old.ID()) {
		t.Errorf("after another replacement: %+v, %v", p, err)
	}
}

// A node that holds the cluster's key stays a member under its new one.
func TestTheClustersKeeperReplacesItsKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "id")
	now := time.Now()
	_, err := IssueToken(dir, now, time.Hour, 0, "")
	must(t, err)
	_, err = RotateKey(dir, now, time.Hour)
	must(t, err)
	c, err := LoadCredentials(dir)
	must(t, err)
	tr, err := LoadTrust(dir)
	must(t, err)
	if p, err := tr.Check(c.ID(), Evidence{Membership: c.Membership()}); err != nil || p.By != ByCluster {
		t.Errorf("%+v, %v", p, err)
	}
}

// certificates returns what TLS would show of c.
func certificates(t testing.TB, c *Credentials) []*x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(c.Certificate().Certificate[0])
	must(t, err)
	return []*x509.Certificate{cert}
}

// save puts a key in the place of the one in a directory.
func (k *Key) save(path string) error {
	data, err := k.marshal()
	if err != nil {
		return err
	}
	return changeDir(path, false, func(d *dir) error { return d.write(fileKey, data) })
}

// A member of one cluster does not get another's key on the way to a refusal.
func TestAMemberFoundsNoClusterOfItsOwn(t *testing.T) {
	home := t.TempDir()
	founder, dir := filepath.Join(home, "a"), filepath.Join(home, "b")
	token, err := IssueToken(founder, epoch, time.Hour, 0, "")
	must(t, err)
	_, err = Join(dir, token, epoch)
	must(t, err)
	if _, err := IssueToken(dir, epoch, time.Hour, 0, ""); !errors.Is(err, ErrStatement) {
		t.Errorf("%v", err)
	}
	if _, err := LoadCluster(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a cluster's key is there: %v", err)
	}
	must(t, Leave(dir))
	_, err = IssueToken(dir, epoch, time.Hour, 0, "")
	must(t, err)
}
