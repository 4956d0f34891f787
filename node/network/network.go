package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/quic"
)

// Errors, wrapped with context.
var (
	// ErrAlone: the node belongs to no cluster and trusts nobody.
	ErrAlone = errors.New("network: this node is alone")
	// ErrNobody: no node that is known serves a name.
	ErrNobody = errors.New("network: nobody serves it")
)

// MediumQUIC names paths over QUIC.
const MediumQUIC = "quic"

// MediumRaft names the TCP address of a node's member of a cluster, to which no
// link is made.
const MediumRaft = "raft"

// RemoteDir is the folder of the runtime directory in which names lie that other
// nodes serve.
const RemoteDir = "remote"

// Local is the node itself: what it has to offer.
type Local interface {
	// Services are the cells that others may call, as beacons tell of them.
	Services() []discovery.Service
	// Lead returns what serves links from another node by the cell of that
	// name, which is started if need be. An error is told to the other node.
	// serve owns the link, unless it returns an error.
	Lead(ctx context.Context, name string, from identity.ID) (serve func(link.Link) error, err error)
	// Fails reports whether a name is that of a cell of this node which does not
	// run and is not started by being called.
	Fails(name string) bool
}

// Options are what a Network is made of. All fields but Raft, Logger and Refused
// must be set.
type Options struct {
	Config config.Network
	Dir    string         // the runtime directory
	Engine *engine.Engine // which forwards; started
	Local  Local
	// Raft is where others reach this node's member of a cluster; the zero value
	// where it has none, or one with an address that isn't numbers.
	Raft   netip.AddrPort
	Logger *slog.Logger
	// Refused is told of peers that were turned away and why, at a bounded rate.
	// source is what they have in common who are the same one: who without a
	// port, say.
	Refused func(source, who, what string, why error)
}

// Network is a node among others. Make it with New, and run it with Run. Its
// methods may be called from any goroutine.
type Network struct {
	o    Options
	self atomic.Pointer[member] // nil while the node is alone
	work sync.WaitGroup
	news chan struct{} // Local has something else to tell

	places places
	// introduction is introductionTime, but in tests of what happens meanwhile.
	introduction time.Duration

	closing context.Context // ends, with mu held, when Close begins
	end     context.CancelFunc

	mu       sync.Mutex // guards what follows
	alone    string     // why, for people
	proxies  map[string]*proxy
	gossips  map[identity.ID]*gossip
	fetching map[identity.ID]bool // whose list of services
	refusals refusals
	relays   map[string]netip.AddrPort // at which this node waits
	tooMany  bool                      // names that are served by others, for there to be sockets
}

// member is what a node has while it belongs to others.
type member struct {
	dir         string
	credentials *identity.Credentials
	trust       *identity.Trust
	endpoint    *quic.Endpoint
	agent       *discovery.Agent
	resolver    *discovery.Resolver
	filters     filters
}

// New makes a network. It starts nothing yet.
func New(o Options) *Network {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Refused == nil {
		o.Refused = func(string, string, string, error) {}
	}
	closing, end := context.WithCancel(context.Background())
	return &Network{o: o, introduction: introductionTime, closing: closing, end: end, news: make(chan struct{}, 1), alone: "the node is starting", proxies: map[string]*proxy{}, gossips: map[identity.ID]*gossip{}, fetching: map[identity.ID]bool{}, relays: map[string]netip.AddrPort{}}
}

// Changed says that Local has something else to tell.
func (n *Network) Changed() {
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// joinPace is how often a node that is alone looks whether it has joined.
const joinPace = 500 * time.Millisecond

// Run opens the node to others as soon as it belongs to any, until ctx ends.
// Then others are told that it leaves, and nobody new is led here; what is under
// way goes on until Close. In mode "on" ErrAlone ends it, and so does whatever
// keeps the sockets from being opened.
func (n *Network) Run(ctx context.Context) error {
	if n.o.Config.Mode == "off" {
		n.setAlone("network.mode is off in its configuration")
		return nil
	}
	dir, err := n.identityDir()
	for err == nil {
		if err = Belongs(dir); !errors.Is(err, ErrAlone) {
			break
		}
		n.setAlone(strings.TrimPrefix(err.Error(), ErrAlone.Error()+": "))
		if n.o.Config.Mode == "on" {
			return err
		}
		select {
		case <-time.After(joinPace):
			err = nil
		case <-ctx.Done():
			return nil
		}
	}
	if err == nil {
		err = n.begin(ctx, dir)
	}
	if err != nil {
		n.setAlone(err.Error())
		return fmt.Errorf("network: %w", err)
	}
	n.serve(ctx)
	return nil
}

func (n *Network) identityDir() (string, error) {
	if n.o.Config.Identity != "" {
		return n.o.Config.Identity, nil
	}
	return identity.DefaultDir()
}

// Belongs reports [ErrAlone] where the identity in directory dir lets nobody in.
func Belongs(dir string) error {
	trust, err := identity.LoadTrust(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it has joined no cluster, for there is no %s; cellnode join TOKEN makes it a member of one, and cellnode token create founds one", ErrAlone, dir)
	}
	if errors.Is(err, identity.ErrDir) {
		return fmt.Errorf("%w: %w; cellnode join makes it a member of a cluster", ErrAlone, err)
	}
	if err != nil {
		return err
	}
	allowed, err := identity.AllowedIn(dir)
	if err != nil {
		return err
	}
	if _, _, open := trust.Standing(identity.ID{}); !open && len(allowed) == 0 {
		return fmt.Errorf("%w: %s names no cluster and nobody to trust; cellnode join TOKEN makes it a member of one, and cellnode token create founds one", ErrAlone, dir)
	}
	return nil
}

func (n *Network) setAlone(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.alone = why
}

// begin opens the sockets and tells others.
func (n *Network) begin(ctx context.Context, dir string) (err error) {
	m := &member{dir: dir}
	if m.credentials, err = identity.LoadCredentials(dir); err != nil {
		return err
	}
	if m.trust, err = identity.LoadTrust(dir); err != nil {
		return err
	}
	if m.endpoint, err = n.listen(m); err != nil {
		return err
	}
	o := n.discoveryOptions(m)
	o.Fetch = fetcher{m}
	if m.agent, err = discovery.Start(o); err != nil {
		return errors.Join(err, m.endpoint.Close())
	}
	m.resolver = discovery.NewResolver(discovery.ResolverOptions{Peers: m.agent, Apart: []string{MediumEnrol, MediumRaft}, Dialers: []discovery.Dialer{dialer{m.endpoint}, byRelay{dialer{m.endpoint}, n.o.Config.Punch}}})
	m.filters.attach(n, m.agent, o)
	m.trust.Watch(m.agent.Recheck)
	n.work.Go(func() {
		m.trust.Follow(ctx, dir, time.Second, func(err error) { n.o.Logger.Error("network: trust", "err", err) })
	})
	n.self.Store(m)
	n.setAlone("")
	n.o.Logger.Info("network: open", "node", m.credentials.ID().String(), "cluster", m.trust.Cluster().String(), "quic", m.endpoint.Addr().String())
	return nil
}

// DefaultPort is the UDP port of QUIC where none is configured, if nobody has it.
const DefaultPort = 12356

// listen opens the endpoint: at what is configured, or at the default port, or,
// since beacons say which, at any.
func (n *Network) listen(m *member) (*quic.Endpoint, error) {
	o := &quic.Options{MaxLinks: linksOfPeer, Refused: func(addr string, why error) {
		n.refuse(addr, "a connection", why)
	}}
	if err := n.offer(m, o); err != nil {
		return nil, err
	}
	if at := n.o.Config.Listen; at != "" {
		return quic.Listen(at, m.credentials, m.trust, o)
	}
	e, err := quic.Listen(fmt.Sprintf(":%d", DefaultPort), m.credentials, m.trust, o)
	if err != nil {
		n.o.Logger.Warn("network: the default port can't be had, so another is taken", "port", DefaultPort, "err", err)
		e, err = quic.Listen("", m.credentials, m.trust, o)
	}
	return e, err
}

// linksOfPeer bounds the links of one peer: one for each name that it calls, one
// for gossip, and a second one for each while it is described.
const linksOfPeer = 256

// serve works until ctx ends.
func (n *Network) serve(ctx context.Context) {
	m := n.self.Load()
	over, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	n.work.Go(func() { n.accept(over, m) })
	n.work.Go(func() { n.watch(over, m) })
	for _, addr := range n.o.Config.Peers {
		n.work.Go(func() { n.keepGossip(over, m, addr) })
	}
	for _, addr := range n.o.Config.WaitAt {
		n.work.Go(func() { n.waitAt(over, m, addr) })
	}
	n.work.Go(func() { n.keepMember(over, m) })
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	n.tell(m)
	for {
		select {
		case <-n.news:
			n.tell(m)
		case <-tick.C:
			n.tell(m)
			n.show(m)
			n.tidy()
		case <-ctx.Done():
			_ = m.agent.Close() // says farewell
			return
		}
	}
}

// tell has beacons say what there is now.
func (n *Network) tell(m *member) {
	if err := m.agent.Set(n.addresses(m), n.o.Local.Services()); err != nil && !errors.Is(err, discovery.ErrClosed) {
		n.o.Logger.Error("network: others can't be told what is served here", "err", err)
	}
}

// Close ends everything. Run must have returned.
func (n *Network) Close() error {
	n.mu.Lock()
	n.end()
	proxies := make([]*proxy, 0, len(n.proxies))
	for _, p := range n.proxies {
		proxies = append(proxies, p)
	}
	clear(n.proxies)
	n.mu.Unlock()
	for _, p := range proxies {
		p.close()
	}
	var err error
	if m := n.self.Load(); m != nil {
		err = errors.Join(m.filters.close(), m.endpoint.Close())
	}
	n.work.Wait()
	return errors.Join(err, Clean(filepath.Join(n.o.Dir, RemoteDir)))
}
