package xsk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Umem is memory from which and into which the kernel sends and receives.
type Umem struct {
	memory  []byte
	options UmemOptions
	// HugeWhy says why huge pages were asked for and not had, if so.
	HugeWhy string
}

// UmemOptions sets up a [Umem].
type UmemOptions struct {
	Frames    int // how many; a power of two is not needed
	FrameSize int // in bytes: 2,048 or 4,096 (what the kernel's aligned mode takes)
	// Headroom is how many bytes the kernel leaves free before a packet that it
	// receives, beyond the 256 (XDP_PACKET_HEADROOM) that it needs itself.
	Headroom int
	// Metadata is how many bytes before a sent packet are [Metadata]: 0, or
	// MetadataSize. Linux 6.8.
	Metadata int
	// SoftwareChecksum has the kernel calculate in copy mode what a NIC would
	// have been asked for. It is for tests of metadata.
	SoftwareChecksum bool
	// HugePages asks for pages of 2 MiB. Without any to be had ordinary ones
	// are taken, and HugeWhy is set.
	HugePages bool
	// Spanning lets packets that are sent reach over frames that lie behind each
	// other, for [Config.MultiBuffer]; see [Desc.Parts].
	Spanning bool
}

// PacketHeadroom is how much of a frame the kernel itself keeps free before a
// received packet: XDP_PACKET_HEADROOM.
const PacketHeadroom = 256

const (
	hugePage  = 2 << 20
	maxFrames = 1 << 20
)

// NewUmem takes memory. It is registered with the kernel by the first [Open].
func NewUmem(o UmemOptions) (*Umem, error) {
	switch {
	case o.FrameSize != 2048 && o.FrameSize != 4096:
		return nil, fmt.Errorf("xsk: frames of %d bytes; the kernel takes 2,048 and 4,096", o.FrameSize)
	case o.Frames < 1 || o.Frames > maxFrames:
		return nil, fmt.Errorf("xsk: %d frames; from 1 to %d", o.Frames, maxFrames)
	case o.Headroom < 0 || o.Headroom > o.FrameSize-PacketHeadroom-64:
		return nil, fmt.Errorf("xsk: %d bytes of headroom leave no room for packets in frames of %d", o.Headroom, o.FrameSize)
	case o.Metadata != 0 && o.Metadata != MetadataSize:
		return nil, fmt.Errorf("xsk: %d bytes of metadata; 0 or %d", o.Metadata, MetadataSize)
	}
	u := &Umem{options: o}
	size := o.Frames * o.FrameSize
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_POPULATE
	var err error
	if o.HugePages {
		// The length is rounded up by hand: munmap wants whole huge pages.
		u.memory, err = unix.Mmap(-1, 0, (size+hugePage-1)&^(hugePage-1), unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_HUGETLB|hugeShift<<unix.MAP_HUGE_SHIFT)
		if err == nil {
			return u, nil
		}
		u.HugeWhy = fmt.Sprintf("No huge pages of 2 MiB: %v; reserve some (echo %d > /proc/sys/vm/nr_hugepages).", err, (size+hugePage-1)/hugePage)
	}
	if u.memory, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags); err != nil {
		return nil, fmt.Errorf("xsk: taking %d bytes for frames: %w", size, err)
	}
	return u, nil
}

const hugeShift = 21

// Frames returns how many frames there are, and of how many bytes.
func (u *Umem) Frames() (n, size int) { return u.options.Frames, u.options.FrameSize }

// Packet is where a descriptor says: nil if that is not within one frame, or, with
// UmemOptions.Spanning, not within the memory. It may be read and written while
// its frames are the process's.
func (u *Umem) Packet(d Desc) []byte {
	size := uint64(u.options.FrameSize)
	all, end := uint64(u.options.Frames)*size, d.Address+uint64(d.Length)
	if d.Address >= all || end > all || !u.options.Spanning && d.Address%size+uint64(d.Length) > size {
		return nil
	}
	return u.memory[d.Address:end:end]
}

// Frame is the whole frame in which an address lies.
func (u *Umem) Frame(address uint64) []byte {
	size := uint64(u.options.FrameSize)
	base := address &^ (size - 1)
	if base >= uint64(u.options.Frames)*size {
		return nil
	}
	return u.memory[base : base+size : base+size]
}

// register makes the memory known to the kernel by way of a socket.
func (u *Umem) register(fd int) error {
	r := unix.XDPUmemReg{
		Len: uint64(u.options.Frames) * uint64(u.options.FrameSize), Size: uint32(u.options.FrameSize),
		Headroom: uint32(u.options.Headroom),
	}
	if u.options.Metadata != 0 {
		r.Flags, r.Tx_metadata_len = unix.XDP_UMEM_TX_METADATA_LEN, uint32(u.options.Metadata)
		if u.options.SoftwareChecksum {
			r.Flags |= unix.XDP_UMEM_TX_SW_CSUM
		}
	}
	err := setUmem(fd, u.memory, &r)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOBUFS):
		// What the kernel says when pinning is limited sounds like another thing.
		var l unix.Rlimit
		_ = unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l)
		return fmt.Errorf("%w: %d bytes are to be locked, RLIMIT_MEMLOCK allows %d in all; raise it (ulimit -l, LimitMEMLOCK=) or give CAP_IPC_LOCK (%w)", ErrMemlock, r.Len, l.Cur, err)
	case errors.Is(err, unix.EINVAL) && u.options.Metadata != 0:
		return fmt.Errorf("%w: this kernel takes no metadata before packets that are sent (Linux 6.8 does): %w", ErrNotSupported, err)
	}
	return fmt.Errorf("xsk: registering %d frames of %d bytes (pages of %d): %w", u.options.Frames, u.options.FrameSize, os.Getpagesize(), err)
}

// Close gives the memory back. All sockets over it must have been closed, and
// no slice of it may be used any more.
func (u *Umem) Close() error {
	if u.memory == nil {
		return nil
	}
	err := unix.Munmap(u.memory)
	u.memory = nil
	return err
}
