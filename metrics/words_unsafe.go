package metrics

import (
	"fmt"
	"unsafe"
)

// wordsOf returns the 64-bit words of b without copying. b must be 8-aligned,
// as every mapping is, and a whole number of words. The result lives as long
// as the memory of b does.
func wordsOf(b []byte) ([]uint64, error) {
	p := unsafe.Pointer(unsafe.SliceData(b))
	if len(b) == 0 || len(b)%8 != 0 || uintptr(p)%8 != 0 {
		return nil, fmt.Errorf("%w: %d bytes at %p are not aligned words", ErrInvalid, len(b), p)
	}
	return unsafe.Slice((*uint64)(p), len(b)/8), nil
}
