package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// at returns a Trust whose clock stands.
func at(now time.Time) *Trust { return &Trust{now: func() time.Time { return now }} }

// member returns what a node shows that came by the token of the tests.
func member(t testing.TB, k *Key, uses uint32) Evidence {
	t.Helper()
	m, err := testToken(uses).Join(k.ID(), epoch)
	must(t, err)
	return Evidence{Membership: m}
}

// altered returns m with a byte of its encoding changed.
func altered(t testing.TB, m *Membership, at int) *Membership {
	t.Helper()
	b, err := m.MarshalBinary()
	must(t, err)
	b[at] ^= 1
	x := new(Membership)
	if x.UnmarshalBinary(b) != nil {
		return nil
	}
	return x
}

func TestWhoIsLetIn(t *testing.T) {
	node, other := numbered(1), numbered(2)
	cluster := testCluster()
	direct, err := cluster.Admit(node.ID(), epoch, 48*time.Hour)
	must(t, err)
	stranger, err := ClusterFromSeed([32]byte{7}).Admit(node.ID(), epoch, time.Hour)
	must(t, err)
	handOver, err := NewSuccession(node, other, epoch, time.Hour)
	must(t, err)
	third, err := NewSuccession(other, numbered(3), epoch, time.Hour)
	must(t, err)
	inCluster := func(tr *Trust) { must(t, tr.SetCluster(cluster.ID())) }

	for _, c := range []struct {
		name  string
		id    ID
		shows Evidence
		now   time.Time
		rules func(tr *Trust)
		want  error
		by    Ground
		until time.Time
	}{
		{"nobody is trusted by a new Trust", node.ID(), Evidence{}, epoch, func(*Trust) {}, ErrUnknown, 0, time.Time{}},
		{"the zero ID, even if it is listed", ID{}, Evidence{}, epoch, func(tr *Trust) { _ = tr.Allow("", ID{}) }, ErrWeak, 0, time.Time{}},
		{"on the allow list", node.ID(), Evidence{}, epoch, func(tr *Trust) { must(t, tr.Allow("a", node.ID())) }, nil, ByAllowList, time.Time{}},
		{"taken off the allow list", node.ID(), Evidence{}, epoch, func(tr *Trust) {
			must(t, tr.Allow("a", node.ID()))
			must(t, tr.Disallow(node.ID()))
		}, ErrUnknown, 0, time.Time{}},
		{"listed and revoked", node.ID(), Evidence{}, epoch, func(tr *Trust) {
			must(t, tr.Allow("a", node.ID()))
			must(t, tr.Revoke(node.ID()))
		}, ErrRevoked, 0, time.Time{}},

		{"member by token", node.ID(), member(t, node, 0), epoch, inCluster, nil, ByCluster, epoch.Add(24 * time.Hour)},
		{"member, but no cluster is known", node.ID(), member(t, node, 0), epoch, func(*Trust) {}, ErrUnknown, 0, time.Time{}},
		{"member by token, a clock slightly behind", node.ID(), member(t, node, 0), epoch.Add(-ClockSkew / 2), inCluster, nil, ByCluster, epoch.Add(24 * time.Hour)},
		{"member by token, long before", node.ID(), member(t, node, 0), epoch.Add(-time.Hour), inCluster, ErrExpired, 0, time.Time{}},
		{"the token has expired", node.ID(), member(t, node, 0), epoch.Add(24 * time.Hour), inCluster, ErrExpired, 0, time.Time{}},
		{"the token is revoked", node.ID(), member(t, node, 0), epoch, func(tr *Trust) {
			inCluster(tr)
			must(t, tr.RevokeSerials(testToken(0).Grant.Serial))
		}, ErrRevoked, 0, time.Time{}},
		{"member by the cluster's key", node.ID(), Evidence{Membership: direct}, epoch.Add(47 * time.Hour), inCluster, nil, ByCluster, epoch.Add(48 * time.Hour)},
		{"membership by the cluster's key has ended", node.ID(), Evidence{Membership: direct}, epoch.Add(49 * time.Hour), inCluster, ErrExpired, 0, time.Time{}},
		{"somebody else's membership", other.ID(), Evidence{Membership: direct}, epoch, inCluster, ErrUnknown, 0, time.Time{}},
		{"a member of another cluster", node.ID(), Evidence{Membership: stranger}, epoch, inCluster, ErrStatement, 0, time.Time{}},
		{"membership of a listed node has ended", node.ID(), Evidence{Membership: direct}, epoch.Add(49 * time.Hour), func(tr *Trust) {
			inCluster(tr)
			must(t, tr.Allow("a", node.ID()))
		}, nil, ByAllowList, time.Time{}},
		{"revoked by the cluster's list", node.ID(), Evidence{Membership: direct}, epoch, func(tr *Trust) {
			inCluster(tr)
			l, err := cluster.Revoke(1, epoch, []ID{node.ID()}, nil)
			must(t, err)
			if news, err := tr.Learn(l); !news || err != nil {
				t.Error(news, err)
			}
		}, ErrRevoked, 0, time.Time{}},
		{"membership revoked by its serial", node.ID(), Evidence{Membership: direct}, epoch, func(tr *Trust) {
			inCluster(tr)
			l, err := cluster.Revoke(1, epoch, nil, []uint64{direct.Serial})
			must(t, err)
			_, err = tr.Learn(l)
			must(t, err)
		}, ErrRevoked, 0, time.Time{}},

		{"successor of a listed node", other.ID(), Evidence{Successions: []*Succession{handOver}}, epoch,
			func(tr *Trust) { must(t, tr.Allow("a", node.ID())) }, nil, ByAllowList, epoch.Add(time.Hour)},
		{"the old key during the overlap", node.ID(), Evidence{}, epoch,
			func(tr *Trust) { must(t, tr.Allow("a", node.ID())) }, nil, ByAllowList, time.Time{}},
		{"successor after the overlap", other.ID(), Evidence{Successions: []*Succession{handOver}}, epoch.Add(time.Hour),
			func(tr *Trust) { must(t, tr.Allow("a", node.ID())) }, ErrExpired, 0, time.Time{}},
		{"successor of a revoked node", other.ID(), Evidence{Successions: []*Succession{handOver}}, epoch,
			func(tr *Trust) {
				must(t, tr.Allow("a", node.ID()))
				must(t, tr.Revoke(node.ID()))
			}, ErrRevoked, 0, time.Time{}},
		{"successor of a member", other.ID(), Evidence{Membership: direct, Successions: []*Succession{handOver}}, epoch, inCluster, nil, ByCluster, epoch.Add(time.Hour)},
		{"successor of a successor", numbered(3).ID(), Evidence{Successions: []*Succession{third, handOver}}, epoch,
			func(tr *Trust) { must(t, tr.Allow("a", node.ID())) }, nil, ByAllowList, epoch.Add(time.Hour)},
		{"successions in the wrong order", numbered(3).ID(), Evidence{Successions: []*Succession{handOver, third}}, epoch,
			func(tr *Trust) { must(t, tr.Allow("a", node.ID())) }, ErrUnknown, 0, time.Time{}},
		{"another node's succession", numbered(4).ID(), Evidence{Successions: []*Succession{handOver}}, epoch,
			func(tr *Trust) { must(t, tr.Allow("a", node.ID())) }, ErrUnknown, 0, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := at(c.now)
			c.rules(tr)
			p, err := tr.Check(c.id, c.shows)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil && (p.ID != c.id || p.By != c.by || !p.Until.Equal(c.until) || p.Enrolling) {
				t.Errorf("%+v", p)
			}
			if err != nil && p.ID != (ID{}) {
				t.Errorf("refused, and yet %+v", p)
			}
		})
	}
}

func TestACountedTokenAdmitsToEnrolmentOnly(t *testing.T) {
	tr := at(epoch)
	must(t, tr.SetCluster(testCluster().ID()))
	p, err := tr.Check(numbered(1).ID(), member(t, numbered(1), 3))
	if err != nil || !p.Enrolling {
		t.Errorf("%+v, %v", p, err)
	}
}

// A key that was revoked is nobody any more: whoever stole it can't pass its
// own key off as the node that it was.
func TestARevokedKeyIsNobodysFormerOne(t *testing.T) {
	first, second, third := numbered(1), numbered(2), numbered(3)
	older, err := NewSuccession(first, second, epoch, time.Hour)
	must(t, err)
	newer, err := NewSuccession(second, third, epoch, time.Hour)
	must(t, err)
	e := Evidence{Successions: []*Succession{newer, older}}
	for _, c := range []struct {
		name    string
		revoked []ID
		want    int
	}{
		{"nothing is revoked", nil, 2},
		{"the oldest is", []ID{first.ID()}, 1},
		{"the one between is", []ID{second.ID()}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := at(epoch)
			must(t, tr.Allow("", third.ID()))
			must(t, tr.Revoke(c.revoked...))
			if p, err := tr.Check(third.ID(), e); err != nil || len(p.Formerly) != c.want {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

// Another cluster's list, whatever its counter, hides nothing.
func TestListsOfTwoClusters(t *testing.T) {
	ours, theirs := testCluster(), ClusterFromSeed([32]byte{7})
	list := func(c *Cluster, counter uint64) *RevocationList {
		l, err := c.Revoke(counter, epoch, []ID{numbered(1).ID()}, nil)
		must(t, err)
		return l
	}
	for _, c := range []struct {
		name          string
		learned, read *RevocationList
		want          uint64
	}{
		{"another's was read", list(ours, 1), list(theirs, 9), 1},
		{"another's was learned", list(theirs, 9), list(ours, 1), 1},
		{"both are ours", list(ours, 1), list(ours, 2), 2},
		{"neither is", list(theirs, 1), list(theirs, 2), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := &Trust{}
			must(t, tr.change(func(r *rules) error {
				r.cluster, r.list, r.files = ours.ID(), c.learned, &fileRules{list: c.read}
				return nil
			}))
			r, counter := tr.current(), uint64(0)
			if l := r.revocations(); l != nil {
				counter = l.Counter
			}
			if counter != c.want || r.isRevoked(numbered(1).ID()) != (c.want > 0) {
				t.Errorf("list %d counts, want %d", counter, c.want)
			}
		})
	}
	forged := list(theirs, 1)
	forged.signature[0] ^= 1
	text, err := forged.MarshalText()
	must(t, err)
	if err := new(fileRules).readList(text); !errors.Is(err, ErrStatement) {
		t.Errorf("a forged list without a cluster: %v", err)
	}
}

func TestNoBitOfAMembershipCanBeChanged(t *testing.T) {
	node := numbered(1)
	direct, err := testCluster().Admit(node.ID(), epoch, time.Hour)
	must(t, err)
	for name, m := range map[string]*Membership{"by token": member(t, node, 0).Membership, "direct": direct} {
		t.Run(name, func(t *testing.T) {
			b, err := m.MarshalBinary()
			must(t, err)
			tr := at(epoch)
			must(t, tr.SetCluster(testCluster().ID()))
			for i := range b {
				x := altered(t, m, i)
				if x == nil {
					continue // not even of the right form
				}
				if p, err := tr.Check(node.ID(), Evidence{Membership: x}); err == nil {
					t.Fatalf("byte %d changed: %+v", i, p)
				}
			}
		})
	}
}

func TestARevocationListOnlyGrows(t *testing.T) {
	tr := at(epoch)
	must(t, tr.SetCluster(testCluster().ID()))
	list := func(c *Cluster, counter uint64) *RevocationList {
		l, err := c.Revoke(counter, epoch, []ID{numbered(byte(counter)).ID()}, nil)
		must(t, err)
		return l
	}
	for _, c := range []struct {
		name string
		list *RevocationList
		news bool
		want error
	}{
		{"the first", list(testCluster(), 2), true, nil},
		{"the same again", list(testCluster(), 2), false, nil},
		{"an older one", list(testCluster(), 1), false, nil},
		{"another cluster's", list(ClusterFromSeed([32]byte{7}), 9), false, ErrStatement},
		{"a newer one", list(testCluster(), 3), true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if news, err := tr.Learn(c.list); news != c.news || !errors.Is(err, c.want) {
				t.Errorf("%t, %v", news, err)
			}
		})
	}
	if got := tr.Revocations(); got == nil || got.Counter != 3 {
		t.Errorf("%+v", got)
	}
}

// Whoever gave a list can't take back what it says by changing it.
func TestAListIsWhatItWasWhenItWasLearned(t *testing.T) {
	tr := at(epoch)
	must(t, tr.SetCluster(testCluster().ID()))
	l, err := testCluster().Revoke(1, epoch, []ID{numbered(3).ID()}, []uint64{5})
	must(t, err)
	_, err = tr.Learn(l)
	must(t, err)
	l.Nodes[0], l.Serials[0] = numbered(4).ID(), 6
	if r := tr.current(); !r.isRevoked(numbered(3).ID()) || !r.isSerialRevoked(5) {
		t.Error("the revoked are back")
	}
	must(t, tr.SetCluster(ClusterID{}))
	if tr.current().isRevoked(numbered(3).ID()) {
		t.Error("the list of a cluster that was left counts")
	}
}

// BenchmarkStanding is what a claimed id costs while the list of the revoked is as
// long as it may be.
func BenchmarkStanding(b *testing.B) {
	tr := at(epoch)
	must(b, tr.SetCluster(testCluster().ID()))
	nodes := make([]ID, MaxRevoked)
	for i := range nodes {
		nodes[i] = ID{byte(i), byte(i >> 8), 1}
	}
	l, err := testCluster().Revoke(1, epoch, nodes, nil)
	must(b, err)
	_, err = tr.Learn(l)
	must(b, err)
	stranger := numbered(7).ID()
	for b.Loop() {
		tr.Standing(stranger)
	}
}

// authority makes an organisation's root and a certificate of it for k.
func authority(t testing.TB, k *Key, until time.Time) (pool *x509.CertPool, leaf *x509.Certificate) {
	t.Helper()
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "organisation"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: epoch.Add(-time.Hour), NotAfter: until.Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, root.Public(), root)
	must(t, err)
	caCert, err := x509.ParseCertificate(caDER)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, NotBefore: epoch.Add(-time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, caCert, k.private.Public(), root)
	must(t, err)
	leaf, err = x509.ParseCertificate(der)
	must(t, err)
	pool = x509.NewCertPool()
	pool.AddCert(caCert)
	return pool, leaf
}

func TestAnOrganisationSpeaksForItsNodes(t *testing.T) {
	node := numbered(1)
	until := epoch.Add(time.Hour)
	pool, leaf := authority(t, node, until)
	stranger, _ := authority(t, node, until)
	for _, c := range []struct {
		name string
		id   ID
		pool *x509.CertPool
		now  time.Time
		want error
	}{
		{"its own", node.ID(), pool, epoch, nil},
		{"expired", node.ID(), pool, until.Add(time.Second), ErrStatement},
		{"of another organisation", node.ID(), stranger, epoch, ErrStatement},
		{"for another key", numbered(2).ID(), pool, epoch, ErrUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := at(c.now)
			must(t, tr.SetAuthority(c.pool))
			p, err := tr.Check(c.id, Evidence{Chain: []*x509.Certificate{leaf}})
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil && (p.By != ByOrganisation || !p.Until.Equal(until)) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestFilesAreReadAgainWhenTheyChange(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "id")
	_, err := LoadOrCreate(dir)
	must(t, err)
	tr, err := LoadTrust(dir)
	must(t, err)
	var told atomic.Int32
	defer tr.Watch(func() { told.Add(1) })()
	errs := make(chan error, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.Follow(ctx, dir, 10*time.Millisecond, func(err error) { errs <- err })
	}()
	defer func() { cancel(); <-done }()

	id := numbered(1).ID()
	write := func(name, content string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	becomes := func(what string, want error) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			_, err := tr.Check(id, Evidence{})
			if errors.Is(err, want) && (err == nil) == (want == nil) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	becomes("at first", ErrUnknown)
	write(fileAllow, "# who may\n\n"+id.String()+"   the one in the cellar # really\n")
	becomes("on the list", nil)
	write(fileRevoked, id.String()+"\n")
	becomes("revoked", ErrRevoked)
	// A broken file changes nothing, and is told of.
	write(fileAllow, id.String()+"\ncell1nonsense\n")
	select {
	case err := <-errs:
		if !errors.Is(err, ErrText) || !strings.Contains(err.Error(), "line 2") {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody was told of the broken list")
	}
	becomes("with a broken list", ErrRevoked)
	write(fileAllow, id.String()+"\n")
	must(t, os.Remove(filepath.Join(dir, fileRevoked)))
	becomes("no longer revoked", nil)
	if told.Load() < 3 {
		t.Errorf("the watcher was told %d times", told.Load())
	}
}

func TestTrustFilesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		file, content string
		want          error
	}{
		"an id that was cut off":          {fileAllow, numbered(1).ID().String()[:30], ErrText},
		"a line without end":              {fileAllow, strings.Repeat("x", maxLine+1), ErrText},
		"a serial that is none":           {fileRevoked, "token xyz", ErrText},
		"two clusters":                    {fileCluster, testCluster().ID().String() + "\n" + ClusterFromSeed([32]byte{7}).ID().String(), ErrText},
		"an authority without content":    {fileAuthority, "hello", ErrText},
		"a list that is none":             {fileList, "cellrevoked1", ErrText},
		"an allow list of a node's keys?": {fileAllow, "-----BEGIN PRIVATE KEY-----", ErrText},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Chmod(dir, 0o700))
			must(t, os.WriteFile(filepath.Join(dir, c.file), []byte(c.content), 0o600))
			if _, err := LoadTrust(dir); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.file) {
				t.Error(err)
			}
			must(t, os.Chmod(filepath.Join(dir, c.file), 0o666))
			if _, err := LoadTrust(dir); !errors.Is(err, ErrDir) {
				t.Errorf("a file that anybody may write: %v", err)
			}
		})
	}
}

func TestJoinAndLeave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "id")
	token, err := ParseToken(testToken(0).Text())
	must(t, err)
	if _, err := Join(dir, token, epoch.Add(25*time.Hour)); !errors.Is(err, ErrExpired) {
		t.Errorf("an expired token: %v", err)
	}
	_, err = Join(dir, token, epoch)
	must(t, err)
	c, err := LoadCredentials(dir)
	must(t, err)
	tr, err := LoadTrust(dir)
	must(t, err)
	tr.now = func() time.Time { return epoch }
	if p, err := tr.Check(c.ID(), Evidence{Membership: c.Membership()}); err != nil || p.By != ByCluster {
		t.Errorf("%+v, %v", p, err)
	}
	other := ClusterFromSeed([32]byte{7}).newToken(numbered(8), 1, epoch, time.Hour, 0)
	if _, err := Join(dir, other, epoch); !errors.Is(err, ErrStatement) || !strings.Contains(err.Error(), "leave") {
		t.Errorf("a second cluster: %v", err)
	}
	must(t, Leave(dir))
	if _, err := Join(dir, other, epoch); err != nil {
		t.Error(err)
	}
}
