package adapter

import "unsafe"

// word returns the word at off of mapped memory; off is a multiple of eight and
// the eight bytes lie within b.
func word(b []byte, off int) *uint64 { return (*uint64)(unsafe.Pointer(&b[off : off+8][0])) }
