package view

import "encoding/binary"

const (
	// PrefixSize is the length in bytes of the block length that begins a
	// message with variable parts.
	PrefixSize = 4
	// RefSize is the length in bytes of a reference to a variable part:
	// offset u32, from the start of the message, and count u32.
	RefSize = 8
)

// zeros stands in for blocks of which nothing is there. Nobody writes to it.
var zeros [4096]byte

// Carried returns how many bytes of its root block a message with variable
// parts carries, never more than it has bytes.
func Carried(msg []byte) int {
	if len(msg) < PrefixSize {
		return 0
	}
	return int(min(uint64(binary.LittleEndian.Uint32(msg)), uint64(len(msg))))
}

// Element returns element i of a list of elements of n bytes each, in place,
// or zeros if there is none. A list may shrink between two looks at it where a
// hostile peer writes, so an index out of range is no fault of the caller.
func Element(list []byte, i, n int) []byte {
	if uint(i) < uint(len(list)/n) {
		return list[i*n : i*n+n : i*n+n]
	}
	return Zeros(n)
}

// Zeros returns n bytes that are zero, to be read.
func Zeros(n int) []byte {
	if n <= len(zeros) {
		return zeros[:n:n]
	}
	return make([]byte, n)
}

// Extended returns a block of n bytes for a sender that knew the first fields
// alone: a copy of the fields that lie wholly within carried, zeros behind
// them. ends says where the fields end, in order.
func Extended(carried []byte, n int, ends ...int) []byte {
	whole := 0
	for _, end := range ends {
		if end <= len(carried) {
			whole = end
		}
	}
	if whole == 0 {
		return Zeros(n)
	}
	block := make([]byte, n)
	copy(block, carried[:whole])
	return block
}

// Text returns the bytes of the string or bytes that the reference ref, of
// RefSize bytes, points to in msg, in place: nil if it is empty or lies. The
// bytes may be read for as long as the message may.
func Text(msg, ref []byte) []byte { return Elements(msg, ref, 1) }

// Elements returns the elements, of size bytes each, that the reference ref
// points to in msg, in place and one behind the other: nil if there are none
// or the reference lies.
func Elements(msg, ref []byte, size int) []byte {
	r := binary.LittleEndian.Uint64(ref) // once, as ref may be a hostile peer's
	from := r & (1<<32 - 1)
	to := from + (r>>32)*uint64(size)
	if to > uint64(len(msg)) || from == to {
		return nil
	}
	return msg[from:to:to]
}
