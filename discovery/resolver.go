package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// MediumRing names paths within the host, over a unix socket and rings.
const MediumRing = "ring"

// Path is a way to an instance of a service.
type Path struct {
	Medium  string
	Service string
	Node    ID // zero for a cell of this host that is known by its socket
	// Addr is where the instance is; invalid within the host.
	Addr netip.AddrPort
	// Ancestor: it has the fingerprint that was asked for as an earlier form.
	Ancestor bool
	Draining bool
	Load     uint8
}

// String returns the path for people.
func (p Path) String() string {
	if p.Medium == MediumRing {
		return p.Medium + " " + p.Service
	}
	return fmt.Sprintf("%s %s at %s, node %s", p.Medium, p.Service, p.Addr, p.Node.Short())
}

// key is what makes two paths the same.
func (p *Path) key() string {
	return p.Medium + " " + p.Service + " " + p.Addr.String() + string(p.Node[:])
}

// Dialer opens links over one medium.
type Dialer interface {
	Medium() string
	Dial(ctx context.Context, p Path) (link.Link, error)
}

// Source is where a [Resolver] learns of peers: an [Agent].
type Source interface {
	Peers() []Peer
	Services(ctx context.Context, p *Peer) ([]Service, error)
}

// ringDialer reaches cells of the host by their sockets.
type ringDialer struct{ o *uds.Options }

// RingDialer returns the dialer for cells of this host; see [uds.Options].
func RingDialer(o *uds.Options) Dialer { return ringDialer{o} }

func (ringDialer) Medium() string { return MediumRing }

func (d ringDialer) Dial(ctx context.Context, p Path) (link.Link, error) {
	return uds.Dialer(p.Service, d.o)(ctx)
}

// ResolverOptions say where a [Resolver] looks.
type ResolverOptions struct {
	// Peers of other hosts; nil: only this host is looked at.
	Peers Source
	// Dir is the directory of this host's sockets; "": [uds.RuntimeDir]. Cells
	// are found there without network.
	Dir string
	// Dialers, the preferred medium first: usually ring, afxdp, quic. A path
	// over a medium that has no dialer is not taken.
	Dialers []Dialer
	// Apart are media in beacons that lead to no services: they are passed over
	// without a word.
	Apart []string
	// AttemptTimeout bounds an attempt at one path where there are others.
	// Default 1 s.
	AttemptTimeout time.Duration
	// Retry is for how long a path that failed is tried after all others, at
	// first; it doubles up to 32 times that. Default 1 s.
	Retry time.Duration
	// Upgrade is how often a better path than the one in use is looked for.
	// Default 500 ms.
	Upgrade time.Duration
}

// Resolver finds paths to services. Its methods may be called from any number
// of goroutines.
type Resolver struct {
	o ResolverOptions

	mu     sync.Mutex
	failed map[string]failure
}

type failure struct {
	count int
	until time.Time
	err   error
}

// maxFailures bounds the paths of which it is remembered that they failed.
const maxFailures = 4096

// NewResolver returns a resolver.
func NewResolver(o ResolverOptions) *Resolver {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.AttemptTimeout, time.Second}, {&o.Retry, time.Second}, {&o.Upgrade, 500 * time.Millisecond}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return &Resolver{o: o, failed: make(map[string]failure)}
}

// Resolve returns the paths to instances of what is asked for, the best first:
// by medium in the order of the dialers; then those that take new work, have the
// fingerprint itself, and have the least load; equal ones in random order. why
// says of each way that can't be taken why not.
func (r *Resolver) Resolve(ctx context.Context, t Target) (paths []Path, why []string) {
	paths, why = r.local(t)
	if r.o.Peers != nil {
		for _, p := range r.o.Peers.Peers() {
			if !t.Node.IsZero() && p.ID != t.Node {
				continue
			}
			services, err := r.o.Peers.Services(ctx, &p)
			if err != nil {
				why = append(why, err.Error())
				continue
			}
			for i := range services {
				if ok, ancestor := t.match(&services[i]); ok {
					found, not := r.reach(&p, &services[i], ancestor)
					paths, why = append(paths, found...), append(why, not...)
				}
			}
		}
	}
	rand.Shuffle(len(paths), func(i, k int) { paths[i], paths[k] = paths[k], paths[i] })
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	slices.SortStableFunc(paths, func(a, b Path) int { return cmp.Compare(r.rank(&a, now), r.rank(&b, now)) })
	for i := range paths {
		if f, ok := r.failed[paths[i].key()]; ok && now.Before(f.until) {
			why = append(why, fmt.Sprintf("%v failed %d times, last with: %v; it is tried again in %v", paths[i], f.count, f.err, f.until.Sub(now).Round(time.Millisecond)))
		}
	}
	return paths, why
}

// rank orders paths: less is better.
func (r *Resolver) rank(p *Path, now time.Time) int {
	n := slices.IndexFunc(r.o.Dialers, func(d Dialer) bool { return d.Medium() == p.Medium })
	for _, worse := range []bool{p.Draining, p.Ancestor} {
		if n *= 2; worse {
			n++
		}
	}
	n = n<<8 + int(p.Load)
	if f, ok := r.failed[p.key()]; ok && now.Before(f.until) {
		n += 1 << 20
	}
	return n
}

// local returns the path to a cell of this host, by its socket.
func (r *Resolver) local(t Target) (paths []Path, why []string) {
	if t.Service == "" || !t.Node.IsZero() || r.dialer(MediumRing) == nil {
		return nil, nil
	}
	dir := r.o.Dir
	if dir == "" {
		var err error
		if dir, err = uds.RuntimeDir(); err != nil {
			return nil, []string{"this host: " + err.Error()}
		}
	}
	if uds.ValidateName(t.Service) != nil {
		return nil, nil
	}
	if _, err := os.Lstat(dir + "/" + t.Service + ".sock"); err != nil {
		return nil, []string{"this host has no cell of that name in " + dir}
	}
	return []Path{{Medium: MediumRing, Service: t.Service}}, nil
}

// LocalServices returns the names of the cells of this host that have sockets
// in dir ("": [uds.RuntimeDir]), some of which may be dead.
func LocalServices(dir string) ([]string, error) {
	if dir == "" {
		var err error
		if dir, err = uds.RuntimeDir(); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".sock"); ok && e.Type()&os.ModeSocket != 0 && uds.ValidateName(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

func (r *Resolver) dialer(medium string) Dialer {
	for _, d := range r.o.Dialers {
		if d.Medium() == medium {
			return d
		}
	}
	return nil
}

// reach returns the paths to a service of a peer.
func (r *Resolver) reach(p *Peer, s *Service, ancestor bool) (paths []Path, why []string) {
	for _, a := range p.addresses() {
		path := Path{Medium: a.Medium, Service: s.Name, Node: p.ID, Addr: a.Addr, Ancestor: ancestor, Draining: s.Draining, Load: s.Load}
		switch {
		case slices.Contains(r.o.Apart, a.Medium):
			continue
		case r.dialer(a.Medium) == nil:
			why = append(why, fmt.Sprintf("%v: this process has no links over %s", path, a.Medium))
			continue
		case a.Addr.Addr().IsUnspecified():
			why = append(why, fmt.Sprintf("%v: it is known through others only, and does not say where it is", path))
			continue
		}
		paths = append(paths, path)
	}
	if len(paths)+len(why) == 0 {
		why = append(why, fmt.Sprintf("node %s (%s) has %s and no address for links", p.ID.Short(), p.Beacon.Name, s.Name))
	}
	return paths, why
}

// addresses returns where a peer has links. Where it says "where my pheromones
// come from", that is put in, or, if they came through others only, where it
// says that pheromones reach it.
func (p *Peer) addresses() (all []Address) {
	if p.Beacon == nil {
		return nil
	}
	for _, a := range p.Beacon.Addresses {
		switch {
		case a.Medium == MediumPheromone:
		case !a.Addr.Addr().IsUnspecified():
			all = append(all, a)
		case p.Addr.IsValid():
			all = append(all, Address{a.Medium, netip.AddrPortFrom(p.Addr.Addr(), a.Addr.Port())})
		default:
			known := len(all)
			for _, own := range p.Beacon.Addresses {
				if own.Medium == MediumPheromone && !own.Addr.Addr().IsUnspecified() {
					all = append(all, Address{a.Medium, netip.AddrPortFrom(own.Addr.Addr(), a.Addr.Port())})
				}
			}
			if len(all) == known {
				all = append(all, a)
			}
		}
	}
	return all
}

// Reach returns where a peer can be reached over a medium, the best first.
func (p *Peer) Reach(medium string) (all []netip.AddrPort) {
	for _, a := range p.addresses() {
		if a.Medium == medium && !a.Addr.Addr().IsUnspecified() {
			all = append(all, a.Addr)
		}
	}
	return all
}

// Dial opens a link over the best path that works. Errors: [ErrNoPath], with
// what was tried.
func (r *Resolver) Dial(ctx context.Context, t Target) (link.Link, Path, error) {
	paths, why := r.Resolve(ctx, t)
	for i, p := range paths {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if i < len(paths)-1 {
			attempt, cancel = context.WithTimeout(ctx, r.o.AttemptTimeout)
		}
		l, err := r.dialer(p.Medium).Dial(attempt, p)
		cancel()
		if err == nil {
			r.worked(&p)
			return l, p, nil
		}
		r.fail(&p, err)
		why = append(why, fmt.Sprintf("%v: %v", p, err))
		if ctx.Err() != nil {
			break
		}
	}
	if len(why) == 0 {
		why = []string{"nobody tells of it; is its node running, in this cluster, and heard? cellnode peers says who is"}
	}
	return nil, Path{}, fmt.Errorf("%w to %v: %s", ErrNoPath, t, strings.Join(why, "; "))
}

// DialFunc returns Dial as rpc.Connect takes it.
func (r *Resolver) DialFunc(t Target) rpc.DialFunc {
	return func(ctx context.Context) (link.Link, error) {
		l, _, err := r.Dial(ctx, t)
		return l, err
	}
}

func (r *Resolver) worked(p *Path) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.failed, p.key())
}

func (r *Resolver) fail(p *Path, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failed) >= maxFailures {
		clear(r.failed)
	}
	f := r.failed[p.key()]
	f.until = time.Now().Add(r.o.Retry << min(f.count, 5))
	f.count++
	f.err = err
	r.failed[p.key()] = f
}
