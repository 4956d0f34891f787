package can

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many frames one system call takes.
const batchSize = 32

// controlSize is room for the control messages of one frame: three timestamps
// of 16 bytes and the counter of drops of 4.
const controlSize = 96

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// batch is the memory of recvmmsg(2): x/sys has no wrapper for it, and its
// Recvmsg allocates an address for each frame.
type batch struct {
	messages [batchSize]mmsghdr
	vectors  [batchSize]unix.Iovec
	data     [batchSize][canFDMTU]byte
	control  [batchSize][controlSize]byte
}

// newBatch returns a batch whose pointers all lead into itself: it is kept
// alive by whoever calls receive.
func newBatch() *batch {
	b := &batch{}
	for i := range b.messages {
		b.vectors[i].Base = &b.data[i][0]
		b.vectors[i].SetLen(len(b.data[i]))
		h := &b.messages[i].header
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = &b.control[i][0]
	}
	return b
}

// receive takes up to n frames without waiting.
func (b *batch) receive(fd, n int) (int, error) {
	for i := range b.messages[:n] {
		b.messages[i].header.SetControllen(controlSize)
	}
	got, _, e := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages)),
		uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(got), nil
}

// message returns frame i and its control messages, until the next receive.
func (b *batch) message(i int) (data, control []byte) {
	m := &b.messages[i]
	return b.data[i][:min(int(m.length), canFDMTU)], b.control[i][:min(uint64(m.header.Controllen), controlSize)]
}

// cmsgHeader is the length of struct cmsghdr, whose first field is a size_t.
const cmsgHeader = unsafe.Sizeof(unix.Cmsghdr{})

// nextControl splits the first control message off b; ok is false if there is
// no whole one.
func nextControl(b []byte) (level, kind int32, data, rest []byte, ok bool) {
	if len(b) < int(cmsgHeader) {
		return 0, 0, nil, nil, false
	}
	length := int(binary.NativeEndian.Uint64(b))
	if length < int(cmsgHeader) || length > len(b) {
		return 0, 0, nil, nil, false
	}
	level = int32(binary.NativeEndian.Uint32(b[8:]))
	kind = int32(binary.NativeEndian.Uint32(b[12:]))
	aligned := min(len(b), (length+7)&^7)
	return level, kind, b[cmsgHeader:length], b[aligned:], true
}
