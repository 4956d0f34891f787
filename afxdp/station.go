package afxdp

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/afxdp/nexthop"
	"github.com/cell-runtime/cell/afxdp/packet"
	"github.com/cell-runtime/cell/afxdp/xsk"
)

// station is what the connections of a process over one interface share: the
// XDP program, for one UDP port, and the sockets with their memory. The first
// connection makes it, the last one ends it. Packets are told apart by their
// addresses and the peer's port.
//
// Its memory is divided up once. Frames to receive into go round between the
// fill rings, the rx rings, connections and rest; frames to send from belong to
// one connection at a time. Neither can starve the other.
//
//	0              receiving                        frames
//	┌──────────────┬────────────────────────────────┐
//	│ to receive   │ to send                        │
//	└──────────────┴────────────────────────────────┘
//
// A datagram is written and read where it lies:
//
//	sent:      0            room-headers     room            frame size
//	           ┌────────────┬────────────────┬───────────────┐
//	           │            │ Ethernet…UDP   │ datagram      │
//	           └────────────┴────────────────┴───────────────┘
//	received:  the kernel's 256 bytes and headroom, headers, datagram
//
// One that is longer than a frame is the matter of span.go.
type station struct {
	key        stationKey
	name       string // of the interface
	port       uint16
	backend    string
	broker     string // "": none
	sockets    Sockets
	queues     []Queue // of sockets
	redirect   program
	why        []string // of the way that was taken
	zeroCopy   bool
	generic    bool
	busyPoll   bool
	metadata   bool // devices are asked for checksums
	timed      bool // the program puts the time of arrival before packets
	timedAsked bool // by the first connection

	frameSize, receiving int
	span                 int // frames that a datagram may take
	window               int // of its first connection: no other may hold more
	refillAt             int // of wants

	mu      sync.Mutex
	members map[packet.Key]*xdpMedium
	rest    []uint64 // frames for receiving that nobody has
	wants   []int    // by queue: how many the kernel has room for
	joiner  joiner   // with span > 1
	turn    int      // the queue to look at first
	sending []sendFrame
	idle    []int // of sending, without an owner
	pending bool  // the kernel has not taken all of the tx ring
	missing bool  // the program is not attached any more
	strays  uint64

	dismissed      int // since dismissedSince
	dismissedSince time.Time

	descs [sendBatch]xsk.Desc
	done  [sendBatch]uint64
}

// stationKey is an interface in a network namespace.
type stationKey struct {
	namespace uint64
	index     int
}

// sendFrame is a frame for sending.
type sendFrame struct {
	out      outFrame
	owner    *xdpMedium // nil: none
	version  uint32     // of the owner's headers that stand in it; 0: none
	returned bool       // put while the kernel was reading it
	parts    int        // descriptors of it that the kernel has
}

// stations are all of this process.
var stations struct {
	sync.Mutex
	all map[stationKey]*station
}

// namespace identifies the calling thread's network namespace.
func namespace() (uint64, error) {
	i, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return 0, fmt.Errorf("afxdp: which network namespace is this: %w", err)
	}
	if s, ok := i.Sys().(*syscall.Stat_t); ok {
		return s.Ino, nil
	}
	return 0, errors.New("afxdp: the network namespace has no number")
}

// join makes m a member of the station of its interface, which is made if there
// is none.
func join(m *xdpMedium, path *nexthop.Path, o *Options) error {
	id, err := namespace()
	if err != nil {
		return err
	}
	key := stationKey{id, path.Interface}
	stations.Lock()
	defer stations.Unlock()
	s := stations.all[key]
	if s == nil {
		if s, err = openStation(key, &m.flow, path, o); err != nil {
			return err
		}
		if stations.all == nil {
			stations.all = map[stationKey]*station{}
		}
		stations.all[key] = s
	}
	if err := s.admit(m, o); err != nil {
		return errors.Join(err, s.leaveIfEmpty())
	}
	return nil
}

// errShared: what this process has of the interface already leaves no place.
var errShared = errors.New("the interface is shared")

// admit gives m memory and packets, or returns errShared with the reason.
func (s *station) admit(m *xdpMedium, o *Options) error {
	if err := s.place(m, o); err != nil {
		return fmt.Errorf("%w: %w", errShared, err)
	}
	return nil
}

func (s *station) place(m *xdpMedium, o *Options) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := m.flow.Key()
	s.reclaim() // what the last ones sent: those that only receive don't look
	switch frames := framesFor(o); {
	case s.port != m.flow.Local.Port():
		return fmt.Errorf("this process has UDP port %d of the interface already, and %d is another; connections over one interface share their local port", s.port, m.flow.Local.Port())
	case s.broker != o.XDP.Broker:
		return fmt.Errorf("this process has the interface with Options.XDP.Broker %q already, and %q is another; connections over one interface share their sockets", s.broker, o.XDP.Broker)
	case s.backend != o.XDP.Backend:
		return fmt.Errorf("this process has the interface by the backend %q already, and Options.XDP.Backend is %q; connections over one interface share their sockets", s.backend, o.XDP.Backend)
	case o.XDP.Timed && !s.timedAsked:
		return fmt.Errorf("this process has the interface without times of arrival already; connections over one interface share their program: set Options.XDP.Timed of the first one, too")
	case s.members[k] != nil:
		return fmt.Errorf("this process has a connection from %v to %v already", m.flow.Local, m.flow.Remote)
	case o.Window > s.window:
		return fmt.Errorf("Options.Window is %d, and the interface's memory is for %d at most, which its first connection has; raise that one's", o.Window, s.window)
	case len(s.idle) < frames:
		return fmt.Errorf("%d frames for sending are left of the interface's, and %d are needed; raise Options.XDP.Peers of its first connection", len(s.idle), frames)
	case o.Datagram > s.longest(m.flow.Remote.Addr().Is6()):
		return fmt.Errorf("the interface's memory is for datagrams of %d bytes, and Options.Datagram is %d; raise its first connection's", s.longest(m.flow.Remote.Addr().Is6()), o.Datagram)
	default:
		m.station = s
		m.allot(frames, o.Datagram)
	}
	s.members[k] = m
	return nil
}

// leave ends a membership, and the station with the last one.
func (s *station) leave(m *xdpMedium) error {
	stations.Lock()
	defer stations.Unlock()
	s.mu.Lock()
	delete(s.members, m.flow.Key())
	for _, f := range m.inbox[m.inboxFirst:] {
		s.free(f.id)
	}
	m.inbox = nil
	m.giveUp()
	for i := range s.sending {
		if f := &s.sending[i]; f.owner == m {
			f.owner = nil
			if !f.out.busy {
				s.idle = append(s.idle, i)
			}
		}
	}
	s.mu.Unlock()
	return s.leaveIfEmpty()
}

func (s *station) leaveIfEmpty() error {
	if len(s.members) > 0 {
		return nil
	}
	delete(stations.all, s.key)
	return s.close()
}

func (s *station) close() error {
	var errs []error
	if s.redirect != nil {
		errs = append(errs, s.redirect.Close())
	}
	if s.sockets != nil {
		errs = append(errs, s.sockets.Close())
	}
	return errors.Join(errs...)
}

// frameAt is the frame in which something lies that was received.
func (s *station) frameAt(address uint64) uint64 { return address &^ uint64(s.frameSize-1) }

// reclaim takes back what the kernel has sent.
func (s *station) reclaim() {
	if s.pending {
		_ = s.kick() // the next send says what is wrong
	}
	for {
		n := s.queues[0].Complete(s.done[:])
		for _, a := range s.done[:n] {
			i := (int(a/uint64(s.frameSize)) - s.receiving) / s.span
			f := &s.sending[i]
			if f.parts--; f.parts > 0 {
				continue
			}
			f.out.busy = false
			switch {
			case f.owner == nil:
				s.idle = append(s.idle, i)
			case f.returned:
				f.returned = false
				f.owner.keep(f)
			}
		}
		if n < len(s.done) {
			return
		}
	}
}

// kick has the kernel send what is in the tx ring.
func (s *station) kick() error {
	sent, err := s.queues[0].Kick()
	s.pending = !sent // also while the interface is down: it goes out later
	return err
}

// refillBatch is how many frames the kernel takes of a fill ring before it is
// given others. How many it has is counted here: who looked into the ring each
// time would take the line from the kernel that it counts in, at the moment at
// which a packet arrives.
const refillBatch = 64

// refill gives frames to a queue's fill ring, those last used first, when it
// wants many.
func (s *station) refill(at int) {
	for s.wants[at] >= s.refillAt && len(s.rest) > 0 {
		from := max(0, len(s.rest)-min(s.wants[at], len(s.done)))
		n := s.queues[at].Fill(s.rest[from:])
		s.wants[at] -= n
		if n == len(s.rest)-from {
			s.rest = s.rest[:from]
			continue
		}
		s.rest = append(s.rest[:from], s.rest[from+n:]...)
		return
	}
}

// collect takes what has arrived: what is m's into fs, and what is others' to
// their inboxes. It returns how many of fs it has filled in.
func (s *station) collect(m *xdpMedium, fs []inFrame) (n int) {
	for range s.queues {
		at := s.turn
		q := s.queues[at]
		if s.turn++; s.turn == len(s.queues) {
			s.turn = 0
		}
		s.refill(at)
		before := n
		for n < len(fs) {
			took := q.Receive(s.descs[:min(len(fs)-n, len(s.descs))])
			if took == 0 {
				break
			}
			s.wants[at] += took
			for _, d := range s.descs[:took] {
				if p, id, when, whole := s.packet(at, d); whole {
					n += s.sort(p, inFrame{id: id, at: when}, m, fs[n:])
				}
			}
		}
		q.Attend(n == before && s.busyPoll)
		if n == len(fs) {
			break
		}
	}
	return n
}

// sort hands one packet to whose it is; 1 if it is m's. A nil one has no memory.
func (s *station) sort(p []byte, f inFrame, m *xdpMedium, fs []inFrame) int {
	if p == nil {
		s.strays++
		return 0
	}
	b, err := m.parser.Datagram(p)
	if err == nil {
		f.buf = b
		fs[0] = f
		m.got(f.id)
		return 1
	}
	if !errors.Is(err, packet.ErrForeign) {
		m.damaged(err)
	} else if k, ok := packet.KeyOf(p); ok && s.members[k] != nil {
		other := s.members[k]
		if f.buf, err = other.parser.Datagram(p); err != nil {
			other.damaged(err)
		} else if other.deliver(f) {
			return 0
		}
	} else {
		s.stray(p)
	}
	s.free(f.id)
	return 0
}
