package view

import (
	"runtime"
	"unsafe"

	"github.com/cell-runtime/cell/bulk"
)

// sizeOf returns the size of T in bytes, a constant of each instance.
func sizeOf[T Scalar]() int {
	var x T
	return int(unsafe.Sizeof(x))
}

// bigEndian is true on the hosts whose memory is not laid out as messages are.
const bigEndian = runtime.GOARCH == "s390x" || runtime.GOARCH == "ppc64" || runtime.GOARCH == "mips" || runtime.GOARCH == "mips64"

// load reads a number from the front of b, which is long enough. It need not
// be aligned: all processors of Go load numbers from anywhere.
func load[T Scalar](b []byte) T {
	if bigEndian {
		var x T
		reversed(raw(unsafe.Slice(&x, 1)), b)
		return x
	}
	return *(*T)(unsafe.Pointer(unsafe.SliceData(b)))
}

// store writes x to the front of b, which is long enough.
func store[T Scalar](b []byte, x T) {
	if bigEndian {
		reversed(b[:sizeOf[T]()], raw(unsafe.Slice(&x, 1)))
		return
	}
	*(*T)(unsafe.Pointer(unsafe.SliceData(b))) = x
}

// reversed fills dst with the first bytes of src, last one first.
func reversed(dst, src []byte) {
	for i := range dst {
		dst[i] = src[len(dst)-1-i]
	}
}

// raw returns the memory of s. Numbers hold no pointers and any bytes are
// valid ones, so it may be read and written.
func raw[T Scalar](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*sizeOf[T]())
}

// appendAll appends the numbers that lie in b to dst.
func appendAll[T Scalar](dst []T, b []byte) []T {
	n, size := len(b)/sizeOf[T](), sizeOf[T]()
	if n == 0 {
		return dst
	}
	have := len(dst)
	if cap(dst)-have < n {
		dst = append(make([]T, 0, have+n), dst...)
	}
	dst = dst[:have+n]
	if bigEndian {
		for i := range n {
			dst[have+i] = load[T](b[i*size:])
		}
		return dst
	}
	copy(raw(dst[have:]), b)
	return dst
}

// storeAll writes src to b, which is long enough.
func storeAll[T Scalar](b []byte, src []T) {
	if bigEndian {
		size := sizeOf[T]()
		for i, x := range src {
			store(b[i*size:], x)
		}
		return
	}
	bulk.Copy(b, raw(src))
}

// bytesOf returns the bytes of a string, which may only be read.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
