package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

const (
	// MaxSteered is how many sockets a [Steer] can choose from.
	MaxSteered = 64
	// MaxOwned is how many peers can be owned.
	MaxOwned = 65536
)

// Steer is the loaded program that gives each datagram to the socket that owns
// its sender, among UDP sockets that share a port (SO_REUSEPORT): so an engine
// gets what its peers send, on its own core, whichever sockets come and go.
// What strangers send goes to one socket, the porter. Its methods may be called
// from any goroutine.
type Steer struct{ objects steerObjects }

// LoadSteer loads the program. The porter is socket 0.
//
// Errors: [ErrPermission], [ErrMemlock], [ErrNotSupported], each with what to
// do.
func LoadSteer() (*Steer, error) {
	if err := probeFilters(); err != nil {
		return nil, err
	}
	if err := features.HaveMapType(ebpf.ReusePortSockArray); err != nil {
		return nil, fmt.Errorf("ebpf: maps of sockets that share a port: %w (Linux 4.19 has them)", err)
	}
	s := &Steer{}
	if err := loadSteerObjects(&s.objects, nil); err != nil {
		return nil, loadError("steer", err)
	}
	return s, nil
}

// Attach has the program choose among all sockets that share the port of one of
// them, which must be bound. It stays until the last of them is closed.
func (s *Steer) Attach(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_EBPF, s.objects.Steer.FD()); err != nil {
		return fmt.Errorf("ebpf: attaching steer to descriptor %d: %w (is it a UDP socket with SO_REUSEPORT, and bound?)", fd, err)
	}
	return nil
}

// SetSocket makes a socket, bound with SO_REUSEPORT, the one with an index. The
// map keeps no socket alive: a closed one leaves, and what was its the kernel
// gives to any other.
func (s *Steer) SetSocket(index uint32, fd int) error {
	if index >= MaxSteered {
		return fmt.Errorf("ebpf: socket %d; steer chooses from sockets 0 to %d", index, MaxSteered-1)
	}
	if err := s.objects.Sockets.Put(index, uint64(fd)); err != nil {
		return fmt.Errorf("ebpf: making descriptor %d socket %d: %w (is it bound with SO_REUSEPORT, and not in the map already?)", fd, index, err)
	}
	return nil
}

// SetPorter has the socket with an index get what strangers send.
func (s *Steer) SetPorter(index uint32) error {
	if err := s.objects.Porter.Put(uint32(0), index); err != nil {
		return fmt.Errorf("ebpf: making socket %d the porter: %w", index, err)
	}
	return nil
}

// steerPeer is struct peer of bpf/steer.c.
type steerPeer struct {
	address [16]byte
	port    [2]byte
	_       [2]byte
}

func newSteerPeer(peer netip.AddrPort) (p steerPeer) {
	p.address = peer.Addr().As16()
	binary.BigEndian.PutUint16(p.port[:], peer.Port())
	return p
}

// Own gives a peer to the socket with an index.
func (s *Steer) Own(peer netip.AddrPort, index uint32) error {
	if index >= MaxSteered {
		return fmt.Errorf("ebpf: socket %d; steer chooses from sockets 0 to %d", index, MaxSteered-1)
	}
	if err := s.objects.Owners.Put(newSteerPeer(peer), index); err != nil {
		return fmt.Errorf("ebpf: giving %v to socket %d: %w (at most %d peers can be owned)", peer, index, err, MaxOwned)
	}
	return nil
}

// Disown makes a peer a stranger.
func (s *Steer) Disown(peer netip.AddrPort) error {
	if err := s.objects.Owners.Delete(newSteerPeer(peer)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("ebpf: making %v a stranger: %w", peer, err)
	}
	return nil
}

// SteerStats counts datagrams since the program was loaded, over all CPUs.
type SteerStats struct {
	Owned    uint64 // given to the socket that owns their sender
	Stranger uint64 // given to the porter
	NoSocket uint64 // left to the kernel: the socket is gone
}

// Stats reads the counters.
func (s *Steer) Stats() (SteerStats, error) {
	var sums [3]uint64
	err := sumCounters(s.objects.Counters, sums[:])
	return SteerStats{sums[0], sums[1], sums[2]}, err
}

// Close lets go of the program, which goes on for the sockets it is attached to.
func (s *Steer) Close() error { return s.objects.Close() }
