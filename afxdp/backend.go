package afxdp

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cell-runtime/cell/afxdp/xsk"
)

// Sockets are the AF_XDP sockets of an interface with their memory, as far as
// connections need them. Package xsk's are the default; a [Backend] may bring
// others. Methods are called by one goroutine at a time.
type Sockets interface {
	// Queues are the sockets, one for each queue that was asked for, in that
	// order. The first alone sends.
	Queues() []Queue
	// Packet is the memory of a descriptor, nil if that lies not within one
	// frame.
	Packet(d xsk.Desc) []byte
	// ZeroCopy says whether the device itself reads and writes frames; if not,
	// why, unless copying was asked for.
	ZeroCopy() (yes bool, why error)
	// Notes are sentences for Info().Why.
	Notes() []string
	Stats() (xsk.Stats, error)
	Close() error
}

// Queue is an AF_XDP socket on one queue. A frame belongs to the caller, or to
// the kernel from Fill to Receive and from Transmit to Complete.
type Queue interface {
	ID() uint32
	// FD is readable when something has arrived, and writable when there is
	// room to send.
	FD() int
	// Fill gives the kernel frames to receive into and returns how many it took.
	Fill(addresses []uint64) int
	// Receive fills in packets that have arrived and returns how many.
	Receive(ds []xsk.Desc) int
	// Attend does what the driver wants of a receiver, once after each look;
	// idle says that nothing had come and busy polling was asked for.
	Attend(idle bool)
	// Transmit queues packets and returns how many it took; none is sent before
	// Kick.
	Transmit(ds []xsk.Desc) int
	// Kick has the kernel send what is queued; sent is false if some of it
	// waits for the next call.
	Kick() (sent bool, err error)
	// Complete fills in frames that were sent and returns how many.
	Complete(addresses []uint64) int
	// BusyPoll is [xsk.Socket.BusyPoll].
	BusyPoll(d time.Duration, budget int) error
}

// Backend opens the AF_XDP sockets of an interface.
type Backend func(u xsk.UmemOptions, c xsk.Config, queues []uint32) (Sockets, error)

// backends are those that were registered, by name.
var backends struct {
	sync.Mutex
	all map[string]Backend
}

// Register makes a backend known by a name, for XDPOptions.Backend. It is for a
// package's init and panics if there is one by that name, as sql.Register does.
func Register(name string, b Backend) {
	backends.Lock()
	defer backends.Unlock()
	if _, there := backends.all[name]; there || name == "" {
		panic(fmt.Sprintf("afxdp: the name %q of a backend is taken", name))
	}
	if backends.all == nil {
		backends.all = map[string]Backend{}
	}
	backends.all[name] = b
}

// Backends are the names of those that were registered.
func Backends() []string {
	backends.Lock()
	defer backends.Unlock()
	return slices.Sorted(maps.Keys(backends.all))
}

// backendOf finds one by name; "" is package xsk's.
func backendOf(name string) (Backend, error) {
	if name == "" {
		return openXSK, nil
	}
	backends.Lock()
	b := backends.all[name]
	backends.Unlock()
	if b == nil {
		return nil, fmt.Errorf("afxdp: Options.XDP.Backend is %q; this program has %q (import _ \"github.com/cell-runtime/cell/afxdp/asavie\" for \"asavie\")",
			name, append([]string{""}, Backends()...))
	}
	return b, nil
}

// ownSockets are package xsk's.
type ownSockets struct {
	*xsk.QueueSet
	queues []Queue
}

func openXSK(u xsk.UmemOptions, c xsk.Config, queues []uint32) (Sockets, error) {
	q, err := xsk.OpenQueues(u, c, queues)
	if err != nil {
		return nil, err
	}
	o := &ownSockets{QueueSet: q}
	for _, s := range q.Sockets {
		zero, _ := s.ZeroCopy()
		o.queues = append(o.queues, &ownQueue{s, zero})
	}
	return o, nil
}

func (o *ownSockets) Queues() []Queue                 { return o.queues }
func (o *ownSockets) Packet(d xsk.Desc) []byte        { return o.Umem.Packet(d) }
func (o *ownSockets) ZeroCopy() (yes bool, why error) { return o.Sockets[0].ZeroCopy() }

func (o *ownSockets) Notes() []string {
	if o.Umem.HugeWhy == "" {
		return nil
	}
	return []string{o.Umem.HugeWhy}
}

type ownQueue struct {
	s        *xsk.Socket
	zeroCopy bool
}

func (q *ownQueue) ID() uint32                            { return q.s.Queue() }
func (q *ownQueue) FD() int                               { return q.s.FD() }
func (q *ownQueue) Fill(addresses []uint64) int           { return q.s.Fill.Put(addresses) }
func (q *ownQueue) Receive(ds []xsk.Desc) int             { return q.s.Rx.Take(ds) }
func (q *ownQueue) Transmit(ds []xsk.Desc) int            { return q.s.Tx.Put(ds) }
func (q *ownQueue) Complete(addresses []uint64) int       { return q.s.Completion.Take(addresses) }
func (q *ownQueue) BusyPoll(d time.Duration, b int) error { return q.s.BusyPoll(d, b) }

// Only a driver that reads frames itself waits for more of them. Otherwise the
// flag is left alone: the kernel counts in the same line when a packet comes.
func (q *ownQueue) Attend(idle bool) {
	if idle || q.zeroCopy && q.s.Fill.NeedsWakeup() {
		_ = q.s.WakeRx() // what is wrong with the interface, sending tells
	}
}

func (q *ownQueue) Kick() (sent bool, err error) {
	if !q.s.Tx.NeedsWakeup() {
		return true, nil
	}
	return q.s.WakeTx()
}
