package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrUnknown: nothing speaks for the peer.
	ErrUnknown = errors.New("identity: unknown peer")
	// ErrRevoked: the peer, or the token by which it came, was revoked.
	ErrRevoked = errors.New("identity: revoked")
)

// Ground is why a peer was let in.
type Ground uint8

// The grounds.
const (
	ByAllowList    Ground = 1 // its ID is on the list
	ByCluster      Ground = 2 // it is a member of the cluster
	ByOrganisation Ground = 3 // the organisation has signed its key
)

func (g Ground) String() string {
	switch g {
	case ByAllowList:
		return "allow list"
	case ByCluster:
		return "cluster"
	case ByOrganisation:
		return "organisation"
	}
	return fmt.Sprintf("ground %d", uint8(g))
}

// Peer is a node that was let in.
type Peer struct {
	ID ID
	// By is why.
	By Ground
	// For is the ID for which By holds: another one than ID while a new key
	// rests on the trust in an old one.
	For ID
	// Formerly are the keys that the peer had before, the latest first, as
	// far as valid successions show and none of them is revoked.
	Formerly []ID
	// Until is when the ground ends; zero for never.
	Until time.Time
	// Enrolling: the peer came with a counted token, and may be enrolled by an
	// Issuer and nothing else.
	Enrolling bool
}

// Is reports whether the peer is the node that id names, or that it named
// before it got another key.
func (p *Peer) Is(id ID) bool { return p.ID == id || slices.Contains(p.Formerly, id) }

// Trust decides who is let in. All methods may be called by any goroutine;
// Check takes no lock. The zero value trusts nobody.
type Trust struct {
	now func() time.Time // nil: time.Now

	mu    sync.Mutex // of those who change rules
	rules atomic.Pointer[rules]

	watching sync.Mutex
	watchers map[int]func()
	next     int
}

// rules are replaced as a whole.
type rules struct {
	allowed map[ID]string // to what the list calls it
	revoked map[ID]bool
	serials map[uint64]bool
	cluster ClusterID
	list    *RevocationList
	roots   *x509.CertPool
	files   *fileRules // what was read from a directory
	index   listIndex
}

// listIndex is what the list of revocations in force says, to be looked up by
// whatever a stranger sends.
type listIndex struct {
	of      *RevocationList
	nodes   map[ID]bool
	serials map[uint64]bool
}

func indexOf(l *RevocationList) listIndex {
	x := listIndex{of: l}
	if l == nil {
		return x
	}
	x.nodes, x.serials = make(map[ID]bool, len(l.Nodes)), make(map[uint64]bool, len(l.Serials))
	for _, id := range l.Nodes {
		x.nodes[id] = true
	}
	for _, serial := range l.Serials {
		x.serials[serial] = true
	}
	return x
}

var noRules = &rules{}

func (t *Trust) current() *rules {
	if r := t.rules.Load(); r != nil {
		return r
	}
	return noRules
}

// change replaces the rules by a changed copy and tells the watchers.
func (t *Trust) change(f func(r *rules) error) error {
	t.mu.Lock()
	r := *t.current()
	r.allowed, r.revoked, r.serials = maps.Clone(r.allowed), maps.Clone(r.revoked), maps.Clone(r.serials)
	err := f(&r)
	if err == nil {
		if l := r.revocations(); l != r.index.of {
			r.index = indexOf(l)
		}
		t.rules.Store(&r)
	}
	t.mu.Unlock()
	if err == nil {
		t.tell()
	}
	return err
}

// Watch has f called after every change of the rules, by the goroutine that
// made it, so that connections whose peer is no longer trusted can be closed.
// It returns how to stop that.
func (t *Trust) Watch(f func()) (stop func()) {
	t.watching.Lock()
	defer t.watching.Unlock()
	if t.watchers == nil {
		t.watchers = make(map[int]func())
	}
	n := t.next
	t.next++
	t.watchers[n] = f
	return func() {
		t.watching.Lock()
		defer t.watching.Unlock()
		delete(t.watchers, n)
	}
}

func (t *Trust) tell() {
	t.watching.Lock()
	all := slices.Collect(maps.Values(t.watchers))
	t.watching.Unlock()
	for _, f := range all {
		f()
	}
}

// Allow puts nodes on the allow list, under a name for people.
func (t *Trust) Allow(name string, ids ...ID) error {
	return t.change(func(r *rules) error {
		if r.allowed == nil {
			r.allowed = make(map[ID]string)
		}
		for _, id := range ids {
			if err := id.Check(); err != nil {
				return err
			}
			r.allowed[id] = name
		}
		return nil
	})
}

// Disallow takes nodes off the allow list. Unlike Revoke it leaves other
// grounds alone.
func (t *Trust) Disallow(ids ...ID) error {
	return t.change(func(r *rules) error {
		for _, id := range ids {
			delete(r.allowed, id)
		}
		return nil
	})
}

// Revoke refuses nodes from now on, whatever speaks for them.
func (t *Trust) Revoke(ids ...ID) error {
	return t.change(func(r *rules) error {
		if r.revoked == nil {
			r.revoked = make(map[ID]bool)
		}
		for _, id := range ids {
			r.revoked[id] = true
		}
		return nil
	})
}

// RevokeSerials refuses tokens, everybody who came by them, and memberships.
func (t *Trust) RevokeSerials(serials ...uint64) error {
	return t.change(func(r *rules) error {
		if r.serials == nil {
			r.serials = make(map[uint64]bool)
		}
		for _, s := range serials {
			r.serials[s] = true
		}
		return nil
	})
}

// SetCluster lets in the members of a cluster; the zero ID, of none.
func (t *Trust) SetCluster(c ClusterID) error {
	return t.change(func(r *rules) error {
		if c != r.cluster {
			r.list = nil
		}
		r.cluster = c
		if c.IsZero() {
			return nil
		}
		return ID(c).Check()
	})
}

// Cluster returns whose members are let in; zero if none's.
func (t *Trust) Cluster() ClusterID { return t.current().clusterID() }

// SetAuthority lets in whoever has a certificate by one of these authorities;
// nil for none.
func (t *Trust) SetAuthority(roots *x509.CertPool) error {
	return t.change(func(r *rules) error {
		r.roots = roots
		return nil
	})
}

// Learn takes a list of revocations that came from anywhere. It returns false
// if it was known or is older than the one that is. Error: [ErrStatement].
func (t *Trust) Learn(l *RevocationList) (news bool, err error) {
	known := func(r *rules) bool {
		old := r.revocations()
		return old != nil && old.Cluster == l.Cluster && old.Counter >= l.Counter
	}
	if r := t.current(); r.clusterID() == l.Cluster && known(r) {
		return false, nil // without a look at the signature
	}
	err = t.change(func(r *rules) error {
		if known(r) {
			return nil
		}
		news = true
		if err := l.Verify(r.clusterID()); err != nil {
			return err
		}
		r.list = l
		return nil
	})
	return news && err == nil, err
}

// Revocations returns the cluster's list, to pass on; nil if there is none.
func (t *Trust) Revocations() *RevocationList { return t.current().revocations() }

// Check decides about a peer that has proved to have id's key. Errors, with
// what is missing and how to mend it: [ErrUnknown], [ErrRevoked],
// [ErrExpired], [ErrStatement], [ErrWeak].
func (t *Trust) Check(id ID, e Evidence) (Peer, error) {
	clock := time.Now
	if t.now != nil {
		clock = t.now
	}
	if err := id.Check(); err != nil {
		return Peer{}, err
	}
	now := clock()
	r := t.current()
	p, err := r.check(id, &e, now, 0)
	if err != nil {
		return Peer{}, err
	}
	p.ID = id
	for _, s := range e.Successions[:min(len(e.Successions), MaxSuccessions)] {
		if s.New != id || s.Verify(now) != nil || r.isRevoked(s.Old) {
			break
		}
		id = s.Old
		p.Formerly = append(p.Formerly, id)
	}
	return p, nil
}

func (r *rules) check(id ID, e *Evidence, now time.Time, depth int) (Peer, error) {
	if r.isRevoked(id) {
		return Peer{}, fmt.Errorf("%w: node %v", ErrRevoked, id)
	}
	if r.isAllowed(id) {
		return Peer{By: ByAllowList, For: id}, nil
	}
	var reasons []error
	for _, ground := range []func(ID, *Evidence, time.Time) (Peer, error){r.byMembership, r.byOrganisation} {
		p, err := ground(id, e, now)
		if err == nil {
			return p, nil
		}
		// What a revoked token let in is not let in by other means either.
		if errors.Is(err, ErrRevoked) {
			return Peer{}, err
		}
		reasons = append(reasons, err)
	}
	if depth < min(len(e.Successions), MaxSuccessions) && e.Successions[depth].New == id {
		s := e.Successions[depth]
		err := s.Verify(now)
		if err == nil {
			var p Peer
			if p, err = r.check(s.Old, e, now, depth+1); err == nil {
				p.Until = earlier(p.Until, s.NotAfter)
				return p, nil
			}
		}
		if errors.Is(err, ErrRevoked) {
			return Peer{}, fmt.Errorf("%v has taken the place of %v: %w", id, s.Old, err)
		}
		reasons = append(reasons, err)
	}
	return Peer{}, refusal(id, reasons)
}

// refusal says why nobody speaks for id.
func refusal(id ID, reasons []error) error {
	what, kind := []string{"it is not on the allow list"}, error(nil)
	for _, err := range reasons {
		what = append(what, strings.TrimPrefix(err.Error(), "identity: "))
		for _, k := range []error{ErrExpired, ErrStatement} {
			if kind == nil && errors.Is(err, k) {
				kind = k
			}
		}
	}
	if kind != nil {
		return fmt.Errorf("%w: node %v: %s (%w)", ErrUnknown, id, strings.Join(what, "; "), kind)
	}
	return fmt.Errorf("%w: node %v: %s; put it on the list, or have it join by a token", ErrUnknown, id, strings.Join(what, "; "))
}

var (
	errNoCluster      = errors.New("no cluster is known here")
	errNoMembership   = errors.New("it shows no membership of a cluster")
	errNoOrganisation = errors.New("no organisation is trusted here")
	errNoChain        = errors.New("it shows no certificate of an organisation")
)

func (r *rules) byMembership(id ID, e *Evidence, now time.Time) (Peer, error) {
	m := e.Membership
	switch {
	case r.clusterID().IsZero():
		return Peer{}, errNoCluster
	case m == nil:
		return Peer{}, errNoMembership
	case m.Node != id:
		return Peer{}, fmt.Errorf("its membership is that of %v", m.Node)
	}
	if err := m.Verify(r.clusterID(), now); err != nil {
		return Peer{}, err
	}
	if r.isSerialRevoked(m.Serial) {
		return Peer{}, fmt.Errorf("%w: serial %016x, by which node %v is a member; it needs a new token", ErrRevoked, m.Serial, id)
	}
	return Peer{By: ByCluster, For: id, Until: m.Until(), Enrolling: m.Counted()}, nil
}

func (r *rules) byOrganisation(id ID, e *Evidence, now time.Time) (Peer, error) {
	roots := r.authority()
	switch {
	case roots == nil:
		return Peer{}, errNoOrganisation
	case len(e.Chain) == 0:
		return Peer{}, errNoChain
	case !isKeyOf(id, e.Chain[0]):
		return Peer{}, errNoChain
	}
	between := x509.NewCertPool()
	for _, c := range e.Chain[1:] {
		between.AddCert(c)
	}
	leaf := e.Chain[0]
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return Peer{}, fmt.Errorf("%w: its certificate of an organisation: %w", ErrStatement, err)
	}
	return Peer{By: ByOrganisation, For: id, Until: leaf.NotAfter}, nil
}

// What was set and what was read from files count alike, but for a cluster and
// an authority that were set, which come first.

func (r *rules) isAllowed(id ID) bool {
	_, set := r.allowed[id]
	return set || r.files != nil && r.files.allowed[id]
}

func (r *rules) isRevoked(id ID) bool {
	return r.revoked[id] || r.files != nil && r.files.revoked[id] || r.index.nodes[id]
}

func (r *rules) isSerialRevoked(serial uint64) bool {
	return r.serials[serial] || r.files != nil && r.files.serials[serial] || r.index.serials[serial]
}

func (r *rules) clusterID() ClusterID {
	if r.cluster.IsZero() && r.files != nil {
		return r.files.cluster
	}
	return r.cluster
}

// revocations returns the newer of the lists that was learned and that was
// read, of those that are this cluster's: another's counter says nothing.
func (r *rules) revocations() (newest *RevocationList) {
	lists := [2]*RevocationList{r.list}
	if r.files != nil {
		lists[1] = r.files.list
	}
	for _, l := range lists {
		if l != nil && l.Cluster == r.clusterID() && (newest == nil || l.Counter > newest.Counter) {
			newest = l
		}
	}
	return newest
}

func (r *rules) authority() *x509.CertPool {
	if r.roots == nil && r.files != nil {
		return r.files.roots
	}
	return r.roots
}

// earlier returns the earlier of two times, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
