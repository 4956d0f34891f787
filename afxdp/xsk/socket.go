package xsk

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Copying says who moves packets between frames and the driver.
type Copying int

// The ways of copying.
const (
	// CopyAuto takes zero-copy where the driver has it.
	CopyAuto Copying = iota
	// CopyAlways has the kernel copy each packet once.
	CopyAlways
	// CopyNever insists on zero-copy: the device reads and writes the frames.
	CopyNever
)

// Config says how a [Socket] is made.
type Config struct {
	Interface int // its index
	Queue     uint32
	// Sizes of the rings in entries, powers of two. Rx or Tx may be 0.
	Rx, Tx, Fill, Completion uint32
	Copying                  Copying
	// NeedWakeup lets the kernel sleep, and say so: [Fill.NeedsWakeup],
	// [Tx.NeedsWakeup].
	NeedWakeup bool
	// MultiBuffer: packets may be longer than a frame (XDP_USE_SG, Linux 6.6);
	// the XDP program must allow it, too.
	MultiBuffer bool
	// Share is a socket over the same Umem, on another queue or interface.
	Share *Socket
	// FD is an AF_XDP socket that somebody with CAP_NET_RAW has made and handed
	// over (package broker), which is the socket's own from then on; 0: make
	// one. It can be bound once, so CopyAuto means CopyAlways there.
	FD int
	// FDs are, for OpenQueues, what FD is for Open: one for each queue, or none.
	FDs []int
	// Patience is how long to try while the queue is busy: a socket that was
	// closed lets go of it some 30 ms later. Default 200 ms; negative: once.
	Patience time.Duration
}

// Socket is an AF_XDP socket that is bound to one queue.
type Socket struct {
	Fill       Fill
	Completion Completion
	Rx         Rx
	Tx         Tx

	fd       int
	zeroCopy bool
	whyCopy  error // why it isn't
	config   Config
}

const (
	maxRing         = 1 << 16
	defaultPatience = 200 * time.Millisecond
	busyPause       = 2 * time.Millisecond
)

func (c *Config) check() error {
	for _, r := range []struct {
		name string
		size uint32
		zero bool
	}{{"Rx", c.Rx, c.Tx != 0}, {"Tx", c.Tx, c.Rx != 0}, {"Fill", c.Fill, false}, {"Completion", c.Completion, false}} {
		if r.size&(r.size-1) != 0 || r.size > maxRing || r.size == 0 && !r.zero {
			return fmt.Errorf("xsk: Config.%s is %d; a power of two up to %d", r.name, r.size, maxRing)
		}
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	return nil
}

// Open makes a socket over u. It belongs to the calling thread's network
// namespace. Nothing arrives before an XDP program sends it here and frames are
// in the fill ring.
//
// Errors: ErrPermission (CAP_NET_RAW), ErrMemlock, ErrBusy, ErrDown,
// ErrNotSupported, each with what to do.
func Open(u *Umem, c Config) (*Socket, error) {
	if err := c.check(); err != nil {
		if c.FD != 0 {
			err = errors.Join(err, unix.Close(c.FD))
		}
		return nil, err
	}
	if c.Share != nil || c.Copying == CopyAlways || c.FD != 0 && c.Copying == CopyAuto {
		return open(u, &c, false)
	}
	s, err := open(u, &c, true)
	if err == nil || c.Copying == CopyNever || !errors.Is(err, ErrNotSupported) {
		return s, err
	}
	// The rings of a socket whose binding has failed are not used again.
	why := err
	if s, err = open(u, &c, false); err == nil {
		s.whyCopy = why
	}
	return s, err
}

func open(u *Umem, c *Config, zeroCopy bool) (s *Socket, err error) {
	fd := c.FD
	if fd == 0 {
		fd, err = unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("%w CAP_NET_RAW: an AF_XDP socket can't be made, but a broker can hand one over: %w", ErrPermission, err)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return nil, fmt.Errorf("%w: this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS, Linux 4.18): %w", ErrNotSupported, err)
	case err != nil:
		return nil, fmt.Errorf("xsk: making a socket: %w", err)
	}
	s = &Socket{fd: fd, config: *c}
	if err = s.prepare(u); err == nil {
		err = s.bind(zeroCopy)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// prepare registers memory and makes and maps the rings.
func (s *Socket) prepare(u *Umem) error {
	c := &s.config
	if c.Share == nil {
		if err := u.register(s.fd); err != nil {
			return err
		}
	}
	sizes := []struct {
		option int
		size   uint32
	}{{unix.XDP_UMEM_FILL_RING, c.Fill}, {unix.XDP_UMEM_COMPLETION_RING, c.Completion}, {unix.XDP_RX_RING, c.Rx}, {unix.XDP_TX_RING, c.Tx}}
	for _, r := range sizes {
		if r.size == 0 {
			continue
		}
		if err := unix.SetsockoptInt(s.fd, unix.SOL_XDP, r.option, int(r.size)); err != nil {
			return fmt.Errorf("xsk: a ring of %d entries: %w", r.size, err)
		}
	}
	o, err := offsets(s.fd)
	if err != nil {
		return fmt.Errorf("%w: the layout of rings: %w", ErrNotSupported, err)
	}
	if s.Fill.ring, err = mapRing(s.fd, unix.XDP_UMEM_PGOFF_FILL_RING, &o.Fr, c.Fill, addressSize); err != nil {
		return err
	}
	s.Fill.entries = s.Fill.addresses(o.Fr.Desc)
	if s.Completion.ring, err = mapRing(s.fd, unix.XDP_UMEM_PGOFF_COMPLETION_RING, &o.Cr, c.Completion, addressSize); err != nil {
		return err
	}
	s.Completion.entries = s.Completion.addresses(o.Cr.Desc)
	if c.Rx != 0 {
		if s.Rx.ring, err = mapRing(s.fd, unix.XDP_PGOFF_RX_RING, &o.Rx, c.Rx, descSize); err != nil {
			return err
		}
		s.Rx.entries = s.Rx.descriptors(o.Rx.Desc)
	}
	if c.Tx != 0 {
		if s.Tx.ring, err = mapRing(s.fd, unix.XDP_PGOFF_TX_RING, &o.Tx, c.Tx, descSize); err != nil {
			return err
		}
		s.Tx.entries = s.Tx.descriptors(o.Tx.Desc)
	}
	return nil
}

// FD is the socket's descriptor. It is readable when something has arrived and
// writable when half of the tx ring is free. It stays the socket's own.
func (s *Socket) FD() int { return s.fd }

// Queue is the queue that it is bound to.
func (s *Socket) Queue() uint32 { return s.config.Queue }

// ZeroCopy says whether the device itself reads and writes frames; if not, why,
// unless copying was asked for.
func (s *Socket) ZeroCopy() (yes bool, why error) { return s.zeroCopy, s.whyCopy }

// Stats are the kernel's counters of a socket, XDP_STATISTICS.
type Stats struct {
	Dropped      uint64 // packets that were too long for a frame, and other reasons
	InvalidRx    uint64 // addresses in the fill ring that were none
	InvalidTx    uint64 // descriptors in the tx ring that were none
	RxFull       uint64 // packets that were dropped because the rx ring was full
	FillEmpty    uint64 // times that a frame was wanted and the fill ring had none
	TxRingsEmpty uint64 // times that the tx ring had nothing
}

// Stats reads them.
func (s *Socket) Stats() (Stats, error) {
	k, err := statistics(s.fd)
	return Stats{k.Rx_dropped, k.Rx_invalid_descs, k.Tx_invalid_descs, k.Rx_ring_full, k.Rx_fill_ring_empty_descs, k.Tx_ring_empty_descs}, err
}

// Close gives back the rings and lets go of the queue, which the kernel does a
// little later. The Umem stays.
func (s *Socket) Close() error {
	if s.fd < 0 {
		return nil
	}
	err := errors.Join(s.Fill.unmap(), s.Completion.unmap(), s.Rx.unmap(), s.Tx.unmap(), unix.Close(s.fd))
	s.fd = -1
	s.Fill.entries, s.Completion.entries, s.Rx.entries, s.Tx.entries = nil, nil, nil, nil
	return err
}
