package uds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// Broker is the node's side of the sockets that cells inherit. A cell tells it
// by which names it serves and whom it wants to reach; the broker asks its
// policy, makes a pair of sockets and hands one end to each. What follows goes
// between the two cells: the broker is not in the data path.
//
// Who a cell is, its node knows from having started it, and says so to the
// other side. Nothing that a cell says of itself counts.
//
// Methods may be called from any goroutine.
type Broker struct {
	o      BrokerOptions
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	services map[string]*service
	patrons  map[*patron]struct{}
	changed  chan struct{} // closed and replaced when a service comes
	closed   bool
}

// BrokerOptions say what a broker allows. Without Serve and Reach nothing is.
type BrokerOptions struct {
	// Serve decides whether a cell may serve a name. It must not block. nil
	// refuses all.
	Serve func(cell link.Peer, name string) error
	// Reach decides whether a peer may reach a name. It may take its time, such
	// as for starting whoever serves the name; ctx ends with the caller, the
	// broker, or DialTimeout. nil refuses all. The peer's ID is its cell's name,
	// empty for a process outside.
	Reach func(ctx context.Context, peer link.Peer, name string) error
	// Outside, if set, connects to a name that no cell serves, after Reach has
	// agreed: DialSocket, for services on this host. Without it such names are
	// not found.
	Outside func(ctx context.Context, name string) (*net.UnixConn, error)
	// Ready, if set, is told that a cell has said it is ready. It must not block.
	Ready func(cell link.Peer)
	// Show, if set, returns the memory in which a cell shows its metrics
	// (metrics.Lend), which stays the node's. It must not block. Without it cells
	// show none.
	Show func(cell link.Peer) (*os.File, error)
	// Event, if set, is told of every connection made or refused. It must not
	// block.
	Event func(BrokerEvent)
	// DialTimeout bounds one request to reach a name. Default: 30 s.
	DialTimeout time.Duration
	// Wait is how long a name that nobody serves yet is waited for after Reach
	// has agreed. Default: not at all.
	Wait time.Duration
	// MaxNames bounds the names of one cell. Default: 64.
	MaxNames int
	// MaxPending bounds the requests of one cell that are under way. Default: 64.
	MaxPending int
}

// BrokerEvent is one connection that was made, or was not.
type BrokerEvent struct {
	From link.Peer
	Name string
	To   link.Peer // zero if refused, or outside
	Err  error
}

const (
	defaultDialTimeout = 30 * time.Second
	defaultNames       = 64
)

// service is one name that a cell, or the node itself, serves.
type service struct {
	name  string
	owner *patron // nil: the node's own
	id    uint32
	take  func(*net.UnixConn, link.Peer) error // of the node's own
}

// NewBroker makes a broker. Close ends it.
func NewBroker(o BrokerOptions) *Broker {
	orDefault(&o.DialTimeout, defaultDialTimeout)
	orDefault(&o.MaxNames, defaultNames)
	orDefault(&o.MaxPending, defaultPending)
	b := &Broker{o: o, services: map[string]*service{}, patrons: map[*patron]struct{}{}, changed: make(chan struct{})}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// ErrBrokerClosed: the broker was closed.
var ErrBrokerClosed = errors.New("uds: broker closed")

// Attach serves one cell over the node's end of its socket, of type
// SOCK_SEQPACKET, until the cell ends, breaks the protocol, ctx ends, or the
// broker is closed. It owns c. cell is who the cell is: PID, UID, GID, and its
// name as ID. It returns nil at the cell's end, link.ErrCorrupt, wrapped, when
// the cell broke the protocol: then it should be ended.
func (b *Broker) Attach(ctx context.Context, c *net.UnixConn, cell link.Peer) error {
	s, err := newNodeSocket(c)
	if err != nil {
		c.Close()
		return err
	}
	p := &patron{b: b, sock: s, peer: cell, names: map[uint32]*service{}}
	p.ctx, p.cancel = context.WithCancel(ctx)
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		c.Close()
		p.cancel()
		return ErrBrokerClosed
	}
	b.patrons[p] = struct{}{}
	b.work.Add(1)
	b.mu.Unlock()
	defer b.work.Done()
	return p.run()
}

// Close ends all that is attached and waits for it. Connections that were
// handed out live on.
func (b *Broker) Close() error {
	b.mu.Lock()
	b.closed = true
	for p := range b.patrons {
		p.cancel()
	}
	b.mu.Unlock()
	b.cancel()
	b.work.Wait()
	return nil
}

// Serving returns the names that are served, and by whom; the node's own have
// a zero peer.
func (b *Broker) Serving() map[string]link.Peer {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]link.Peer, len(b.services))
	for name, s := range b.services {
		var p link.Peer
		if s.owner != nil {
			p = s.owner.peer
		}
		all[name] = p
	}
	return all
}

// Await waits until somebody serves name. Errors: ErrNoListener with ctx's,
// or ErrBrokerClosed.
func (b *Broker) Await(ctx context.Context, name string) error {
	_, err := b.await(ctx, name)
	return err
}

func (b *Broker) await(ctx context.Context, name string) (*service, error) {
	for {
		b.mu.Lock()
		s, changed := b.services[name], b.changed
		b.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w as %q: %w", ErrNoListener, name, context.Cause(ctx))
		case <-b.ctx.Done():
			return nil, ErrBrokerClosed
		}
	}
}

// Provide serves a name by the node itself: take is given each connection and
// who is at its other end, and owns the connection also where it returns an
// error. It must not block. Errors: ErrName, ErrInUse. The returned function
// ends it.
func (b *Broker) Provide(name string, take func(*net.UnixConn, link.Peer) error) (end func(), err error) {
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	s := &service{name: name, take: take}
	if err := b.register(s); err != nil {
		return nil, err
	}
	return func() { b.unregister(s) }, nil
}

func (b *Broker) register(s *service) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrBrokerClosed
	}
	if old := b.services[s.name]; old != nil {
		who := "the node itself"
		if old.owner != nil {
			who = fmt.Sprintf("%s, process %d,", old.owner.peer.ID, old.owner.peer.PID)
		}
		return fmt.Errorf("%w: %s serves %q", ErrInUse, who, s.name)
	}
	b.services[s.name] = s
	close(b.changed)
	b.changed = make(chan struct{})
	return nil
}

func (b *Broker) unregister(s *service) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.services[s.name] == s {
		delete(b.services, s.name)
	}
}

// Dial connects the node itself, or whoever it says that from is, to a name
// that is served at this broker, without asking Reach. It returns a socket on
// which nothing has been said yet: Client shakes hands.
func (b *Broker) Dial(ctx context.Context, from link.Peer, name string) (*net.UnixConn, error) {
	fd, to, err := b.connectHere(ctx, from, name)
	if b.o.Event != nil {
		b.o.Event(BrokerEvent{From: from, Name: name, To: to, Err: err})
	}
	if err != nil {
		return nil, err
	}
	return unixConn(fd)
}

// Forward hands a connection that came from outside to whoever serves name,
// after Reach has agreed. It owns c, which is told of an error.
func (b *Broker) Forward(ctx context.Context, c *net.UnixConn, from link.Peer, name string) error {
	err := b.Offer(ctx, c, from, name)
	if err != nil {
		x := newExchange(c, from, 0)
		x.tell(asRefusal(err))
		_ = c.Close()
	}
	return err
}

// Offer is Forward for who has another place to go: after an error c is the
// caller's as before. ErrNoListener says that nobody serves the name here, or
// not any more.
func (b *Broker) Offer(ctx context.Context, c *net.UnixConn, from link.Peer, name string) error {
	ctx, cancel := context.WithTimeout(ctx, b.o.DialTimeout)
	defer cancel()
	to, err := b.forward(ctx, c, from, name)
	if b.o.Event != nil {
		b.o.Event(BrokerEvent{From: from, Name: name, To: to, Err: err})
	}
	if err == nil {
		_ = c.Close() // whoever serves has a descriptor of its own
	}
	return err
}

func (b *Broker) forward(ctx context.Context, c *net.UnixConn, from link.Peer, name string) (link.Peer, error) {
	if err := b.permit(ctx, from, name); err != nil {
		return link.Peer{}, err
	}
	s, err := b.lookup(ctx, name)
	if err != nil {
		return link.Peer{}, err
	}
	x := newExchange(c, from, 0)
	fd, err := x.dup()
	if err != nil {
		return link.Peer{}, refuse(wire.StatusResourceExhausted, "the node has no descriptors left: %w", err)
	}
	return s.hand(fd, from)
}

// permit asks the policy.
func (b *Broker) permit(ctx context.Context, from link.Peer, name string) error {
	if b.o.Reach == nil {
		return refuse(wire.StatusPermissionDenied, "the node lets nobody reach anything")
	}
	if err := b.o.Reach(ctx, from, name); err != nil {
		return asRefusal(err)
	}
	return nil
}

func (b *Broker) lookup(ctx context.Context, name string) (*service, error) {
	if b.o.Wait > 0 {
		ctx, cancel := context.WithTimeout(ctx, b.o.Wait)
		defer cancel()
		return b.await(ctx, name)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.services[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w as %q at this node", ErrNoListener, name)
}

// connect makes a pair of sockets, hands one end to whoever serves name and
// returns the other.
func (b *Broker) connect(ctx context.Context, from link.Peer, name string) (fd int, to link.Peer, err error) {
	s, err := b.lookup(ctx, name)
	if errors.Is(err, ErrNoListener) && b.o.Outside != nil {
		c, err := b.o.Outside(ctx, name)
		if err != nil {
			return -1, to, err
		}
		defer c.Close()
		to, _ = peerOf(c, name)
		fd, err = newExchange(c, to, 0).dup()
		return fd, to, err
	}
	if err != nil {
		return -1, to, err
	}
	return s.connect(from)
}

// connectHere is connect for names that are served at this broker.
func (b *Broker) connectHere(ctx context.Context, from link.Peer, name string) (fd int, to link.Peer, err error) {
	s, err := b.lookup(ctx, name)
	if err != nil {
		return -1, to, err
	}
	return s.connect(from)
}

// connect makes a pair of sockets, hands one end to whoever serves and returns
// the other.
func (s *service) connect(from link.Peer) (fd int, to link.Peer, err error) {
	near, far, err := streamPair()
	if err != nil {
		return -1, to, refuse(wire.StatusResourceExhausted, "the node has no descriptors left: %w", err)
	}
	if to, err = s.hand(far, from); err != nil {
		unix.Close(near)
		return -1, to, err
	}
	return near, to, nil
}

// hand gives one end of a connection, which it owns, to whoever serves.
func (s *service) hand(fd int, from link.Peer) (link.Peer, error) {
	if s.owner == nil {
		c, err := unixConn(fd)
		if err == nil {
			err = s.take(c, from)
		}
		return link.Peer{}, err
	}
	defer unix.Close(fd)
	m := nodeMessage{kind: nodeArrived, id: s.id, peer: from, name: s.name, text: from.ID}
	err := s.owner.sock.send(&m, fd, false)
	switch {
	case errors.Is(err, errNodeFull), errors.Is(err, unix.ETOOMANYREFS):
		return s.owner.peer, refuse(wire.StatusResourceExhausted, "%s does not take its connections: %w", s.owner.peer.ID, err)
	case err != nil:
		return s.owner.peer, fmt.Errorf("%w as %q: %s ends just now: %w", ErrNoListener, s.name, s.owner.peer.ID, err)
	}
	return s.owner.peer, nil
}

// asRefusal gives an error the form in which the other side is told.
func asRefusal(err error) *RefusedError {
	var r *RefusedError
	var s wire.Status
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &s):
	case errors.Is(err, ErrNoListener):
		s = wire.StatusNotFound
	case errors.Is(err, context.DeadlineExceeded):
		s = wire.StatusDeadlineExceeded
	case errors.Is(err, ErrBrokerClosed), errors.Is(err, io.EOF):
		s = wire.StatusDraining
	default:
		s = wire.StatusPermissionDenied
	}
	return refuse(s, "%w", err)
}
