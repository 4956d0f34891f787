package discovery

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed: the agent was closed.
var ErrClosed = errors.New("discovery: closed")

// Options say how an [Agent] works. Config is the protocol's part; of it
// Incarnation, Seed, Name and Host have defaults here.
type Options struct {
	Config
	// Port is where the groups and broadcasts are heard; default
	// [DefaultPort]. All nodes of a cluster must have the same.
	Port int
	// UnicastPort is the port for everything else; default: any free one.
	UnicastPort int
	// Interface chooses the interfaces by name; nil: all but loopback.
	Interface func(name string) bool
	// Broadcast: IPv4 broadcasts are sent beside multicasts, for networks that
	// don't carry those. Interfaces without multicast get them anyway.
	Broadcast bool
	// NoMulticast: groups are neither joined nor sent to; seeds must do, or
	// broadcasts.
	NoMulticast bool
	// Seeds are nodes in other networks, host:port, that are told what the
	// groups are told, at most 64.
	Seeds []string
	// Addresses and Services are what the node's beacons tell at first; see
	// [Agent.Set].
	Addresses []Address
	Services  []Service
	// Fetch gets the list of services of a peer whose beacon can't hold them,
	// over a reliable link; nil: their names stay unknown.
	Fetch Fetcher
	// DropsPerSecond is the most pheromones a second that are looked at in
	// vain on one socket; beyond, it rests and the kernel drops. Default
	// 100,000.
	DropsPerSecond int
	Logger         *slog.Logger
}

// Fetcher gets lists of services over a reliable link; see [Agent.ServiceList]
// for the other end.
type Fetcher interface {
	FetchServices(ctx context.Context, from Peer, list ServiceList) ([]byte, error)
}

// Agent runs the protocol on this host's networks. Its methods may be called
// from any number of goroutines.
type Agent struct {
	o     Options
	begun time.Time

	mu       sync.Mutex
	machine  *Machine
	services []byte // encoded
	nics     []nic
	groups   map[string]*socket // by network and device
	send4    *socket
	send6    *socket
	links    map[ID]func([]byte) error
	watchers map[*Watcher]bool
	closed   bool
	own      []Address // as set, without this agent's own
	current  []Service

	timer  chan struct{} // the machine wants to be called earlier
	ended  chan struct{}
	wg     sync.WaitGroup
	seeds  atomic.Pointer[[]netip.AddrPort]
	failed atomic.Uint64 // sends
	rested atomic.Uint64
	sifted atomic.Uint64

	lists listCache
}

// Start begins to find others and to be found. Errors: [ErrConfig], [ErrBody],
// and those of sockets.
func Start(o Options) (*Agent, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	m, err := New(o.Config)
	if err != nil {
		return nil, err
	}
	a := &Agent{o: o, begun: time.Now(), machine: m, groups: make(map[string]*socket), links: make(map[ID]func([]byte) error),
		watchers: make(map[*Watcher]bool), timer: make(chan struct{}, 1), ended: make(chan struct{})}
	a.seeds.Store(&[]netip.AddrPort{})
	if err := a.prepare(); err != nil {
		return nil, err
	}
	a.literalSeeds()
	for _, s := range []*socket{a.send4, a.send6} {
		if s != nil {
			a.wg.Go(func() { a.receive(s) })
		}
	}
	a.wg.Go(a.run)
	a.wg.Go(a.keep)
	return a, nil
}

// prepare opens the sockets and says what beacons tell. Groups are received
// from as soon as they are open, which waits for a.mu.
func (a *Agent) prepare() error {
	a.mu.Lock()
	err := a.open()
	if err == nil {
		a.own, a.current = a.o.Addresses, a.o.Services
		err = a.setLocked()
	}
	if err != nil {
		return errors.Join(err, a.end())
	}
	a.mu.Unlock()
	return nil
}

func (o *Options) complete() error {
	if o.Port == 0 {
		o.Port = DefaultPort
	}
	if o.DropsPerSecond == 0 {
		o.DropsPerSecond = 100_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Incarnation == 0 {
		o.Incarnation = uint64(time.Now().UnixNano())
	}
	if o.Seed == 0 {
		o.Seed = o.Incarnation ^ binary.LittleEndian.Uint64(o.Node[:])
	}
	if o.Host == [8]byte{} {
		o.Host = hostID()
	}
	if o.Name == "" {
		if name, err := os.Hostname(); err == nil && validText(name, MaxName) {
			o.Name = name
		}
	}
	switch {
	case len(o.Seeds) > 64:
		return fmt.Errorf("%w: %d seeds; at most 64", ErrConfig, len(o.Seeds))
	case o.Port < 1 || o.Port > 65535 || o.UnicastPort < 0 || o.UnicastPort > 65535:
		return fmt.Errorf("%w: Port %d, UnicastPort %d; 1 to 65535, and 0 for any free one", ErrConfig, o.Port, o.UnicastPort)
	}
	for _, s := range o.Seeds {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return fmt.Errorf("%w: seed %q: %w; host:port", ErrConfig, s, err)
		}
	}
	return nil
}

// open makes the sockets that everything is sent from. One family is enough.
func (a *Agent) open() error {
	var err4, err6 error
	a.send4, err4 = listen("udp4", a.o.UnicastPort, "", 0, a.o.Cluster.ID)
	port := a.o.UnicastPort
	if port == 0 && err4 == nil {
		port = a.send4.port()
	}
	a.send6, err6 = listen("udp6", port, "", 0, a.o.Cluster.ID)
	if err6 != nil && port != a.o.UnicastPort {
		a.send6, err6 = listen("udp6", 0, "", 0, a.o.Cluster.ID)
	}
	if err4 != nil && err6 != nil {
		return fmt.Errorf("discovery: no socket: %w", errors.Join(err4, err6))
	}
	return a.rescanLocked()
}

func (a *Agent) instant() Instant {
	return Instant{Mono: int64(time.Since(a.begun)), Wall: time.Now().UnixMilli()}
}

// step tells the machine of a packet, or of the time, and does what it wants.
// It reports whether the packet was of use.
func (a *Agent) step(p *Packet) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	drops := a.machine.stats.Drops.Total()
	next := a.machine.Next()
	a.do(a.machine.Step(a.instant(), p))
	if p != nil && a.machine.Next() < next {
		a.poke()
	}
	return a.machine.stats.Drops.Total() == drops
}

func (a *Agent) poke() {
	select {
	case a.timer <- struct{}{}:
	default:
	}
}

// run calls the machine when its time has come.
func (a *Agent) run() {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-a.timer:
		case <-a.ended:
			return
		}
		a.step(nil)
		a.mu.Lock()
		next := a.machine.Next()
		a.mu.Unlock()
		t.Reset(max(0, time.Duration(next)-time.Since(a.begun)))
	}
}

// Set says what the node's beacons tell from now on; see [Machine.Set]. The
// agent adds where pheromones reach it. Error: [ErrBody].
func (a *Agent) Set(addresses []Address, services []Service) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return ErrClosed
	}
	before, current := a.own, a.current
	a.own, a.current = slices.Clone(addresses), slices.Clone(services)
	if err := a.setLocked(); err != nil {
		a.own, a.current = before, current
		return err
	}
	return nil
}

func (a *Agent) setLocked() error {
	all := slices.Clone(a.own)
	for i := range a.nics {
		for _, ip := range a.nics[i].addrs {
			port := 0
			if ip.Is4() && a.send4 != nil {
				port = a.send4.port()
			} else if ip.Is6() && a.send6 != nil {
				port = a.send6.port()
			}
			if port != 0 && len(all) < MaxAddresses {
				all = append(all, Address{MediumPheromone, netip.AddrPortFrom(ip, uint16(port))})
			}
		}
	}
	encoded, err := AppendServices(nil, a.current)
	if err != nil {
		return err
	}
	if err := a.machine.Set(all, a.current); err != nil {
		return err
	}
	a.services = encoded
	a.poke()
	return nil
}

// ServiceList returns this node's services as peers fetch them.
func (a *Agent) ServiceList() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.services
}

// ID returns this node's.
func (a *Agent) ID() ID { return a.o.Node }

// Peers returns the living peers, by ID.
func (a *Agent) Peers() []Peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.machine.Peers()
}

// Heard returns how long ago a peer proved to be alive.
func (a *Agent) Heard(p *Peer) time.Duration { return time.Since(a.begun) - time.Duration(p.Heard) }

// AgentStats are an agent's counters.
type AgentStats struct {
	Stats
	SendsFailed uint64 // datagrams that the kernel refused
	Rests       uint64 // times that a socket rested in a flood
	Sifts       uint64 // times that the kernel let through to one what known nodes sent alone
	Interfaces  []string
}

// Stats returns the counters.
func (a *Agent) Stats() AgentStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := AgentStats{Stats: a.machine.Stats(), SendsFailed: a.failed.Load(), Rests: a.rested.Load(), Sifts: a.sifted.Load()}
	for i := range a.nics {
		s.Interfaces = append(s.Interfaces, a.nics[i].name)
	}
	return s
}

// Watch returns a watcher, which tells of the peers that are there first.
func (a *Agent) Watch() *Watcher {
	w := newWatcher()
	w.stopped = func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.watchers, w)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.machine.Peers() {
		w.add(Event{Found, p})
	}
	a.watchers[w] = true
	return w
}

// Query asks everybody for beacons, or only those who have the service.
func (a *Agent) Query(service string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.do(a.machine.Query(a.instant(), service))
	}
}

// Recheck asks again how far peers are trusted; call it when that has changed.
func (a *Agent) Recheck() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.do(a.machine.Recheck(a.instant()))
	}
}

// LinkUp offers a reliable link to a proven peer for gossip. send must not
// block; what it can't take it drops. What the peer sends is given to
// [Agent.LinkReceive]. It reports whether the link is used.
func (a *Agent) LinkUp(peer ID, send func([]byte) error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || !a.machine.LinkUp(peer) {
		return false
	}
	a.links[peer] = send
	a.poke()
	return true
}

// LinkDown says that the link to a peer is gone.
func (a *Agent) LinkDown(peer ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.machine.LinkDown(peer)
	delete(a.links, peer)
}

// LinkReceive takes a pheromone that came over a reliable link.
func (a *Agent) LinkReceive(peer ID, data []byte) { a.step(&Packet{Data: data, Over: peer}) }

// Close says farewell and frees everything.
func (a *Agent) Close() error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	a.do(a.machine.Leave(a.instant()))
	return a.end()
}

// end frees everything; a.mu is held and given back.
func (a *Agent) end() error {
	a.closed = true
	close(a.ended)
	err := a.closeSockets()
	a.mu.Unlock()
	a.wg.Wait()
	return err
}

func (a *Agent) closeSockets() error {
	var errs []error
	for _, s := range a.groups {
		errs = append(errs, s.conn.Close())
	}
	for _, s := range []*socket{a.send4, a.send6} {
		if s != nil {
			errs = append(errs, s.conn.Close())
		}
	}
	return errors.Join(errs...)
}
