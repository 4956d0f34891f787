package ring

import (
	"unsafe"

	"github.com/cell-runtime/cell/wire"
)

// arena is the only way in which this package touches shared memory. Every
// offset that reaches it was masked or bounded by its caller: off is a
// multiple of 64 below the size of the records, and n stays within the span
// that the caller checked against the end.
//
// The mapping must outlive every slice that payload returned; the garbage
// collector knows nothing of it. That is the contract of Close.
type arena struct {
	base unsafe.Pointer
}

func newArena(b []byte) arena { return arena{unsafe.Pointer(unsafe.SliceData(b))} }

// word returns the commit word of the record at off.
func (a arena) word(off uint64) *uint32 {
	return (*uint32)(unsafe.Add(a.base, off))
}

// header returns the encoded header of the record at off.
func (a arena) header(off uint64) *[wire.HeaderSize]byte {
	return (*[wire.HeaderSize]byte)(unsafe.Add(a.base, off+4))
}

// payload returns n bytes at the payload of the record at off, with no
// capacity beyond. A payload that begins later than at 24 is reached by an off
// that is greater by as much (shiftOf).
func (a arena) payload(off uint64, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(a.base, off+prefixSize)), n)
}

// bytes returns n bytes from off on.
func (a arena) bytes(off, n uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(a.base, off)), n)
}

// u64 returns the 8-aligned word at off; used for the control area.
func (a arena) u64(off uint64) *uint64 { return (*uint64)(unsafe.Add(a.base, off)) }

// sameStart reports whether b begins where payload(off, n) does.
func (a arena) sameStart(b []byte, off uint64) bool {
	return unsafe.Pointer(unsafe.SliceData(b)) == unsafe.Add(a.base, off+prefixSize)
}
