package xsk

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapRing maps a socket's ring of size entries of entrySize bytes.
func mapRing(fd int, page int64, o *unix.XDPRingOffset, size uint32, entrySize int) (ring, error) {
	length := int(o.Desc) + int(size)*entrySize
	memory, err := unix.Mmap(fd, page, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return ring{}, fmt.Errorf("xsk: mapping a ring: %w", err)
	}
	for _, off := range []uint64{o.Producer, o.Consumer, o.Flags} {
		if off%4 != 0 || off+4 > uint64(length) || o.Desc%8 != 0 {
			_ = unix.Munmap(memory)
			return ring{}, fmt.Errorf("%w: the kernel's ring offsets are none: %+v", ErrNotSupported, *o)
		}
	}
	return ring{
		memory:   memory,
		producer: (*uint32)(unsafe.Pointer(&memory[o.Producer])),
		consumer: (*uint32)(unsafe.Pointer(&memory[o.Consumer])),
		flags:    (*uint32)(unsafe.Pointer(&memory[o.Flags])),
		size:     size, mask: size - 1,
	}, nil
}

// addresses are the entries of a fill or completion ring at an offset.
func (r *ring) addresses(off uint64) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(&r.memory[off])), r.size)
}

// descriptors are the entries of an rx or tx ring at an offset.
func (r *ring) descriptors(off uint64) []Desc {
	return unsafe.Slice((*Desc)(unsafe.Pointer(&r.memory[off])), r.size)
}

var (
	_ = [1]struct{}{}[unsafe.Sizeof(Desc{})-descSize]
	_ = [1]struct{}{}[unsafe.Sizeof(Desc{})-unsafe.Sizeof(unix.XDPDesc{})]
)

func (r *ring) unmap() error {
	if r.memory == nil {
		return nil
	}
	err := unix.Munmap(r.memory)
	*r = ring{}
	return err
}
