package packet

import (
	"encoding/binary"
	"math/bits"
)

// The Internet checksum (RFC 1071) is a sum in ones' complement, in which the
// order of bytes does not matter as long as it is the same throughout, and which
// can be taken over any multiple of 16 bits at once. Sums here are of
// little-endian words; fold turns them round.

// sum adds the bytes of b to a sum.
func sum(b []byte, to uint64) uint64 {
	var carry uint64
	for len(b) >= 32 {
		to, carry = bits.Add64(to, binary.LittleEndian.Uint64(b), 0)
		to, carry = bits.Add64(to, binary.LittleEndian.Uint64(b[8:]), carry)
		to, carry = bits.Add64(to, binary.LittleEndian.Uint64(b[16:]), carry)
		to, carry = bits.Add64(to, binary.LittleEndian.Uint64(b[24:]), carry)
		to = end(to, carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		to, carry = bits.Add64(to, binary.LittleEndian.Uint64(b), 0)
		to = end(to, carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		to, carry = bits.Add64(to, binary.LittleEndian.Uint64(last[:]), 0)
		to = end(to, carry)
	}
	return to
}

// end carries around, twice if need be.
func end(to, carry uint64) uint64 {
	to, carry = bits.Add64(to, 0, carry)
	return to + carry
}

// fold makes 16 bits of a sum, in the order of the network. It is not
// complemented.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	t := uint32(s)
	t = t>>16 + t&0xffff
	t = t>>16 + t&0xffff
	return bits.ReverseBytes16(uint16(t))
}

// word is a 16-bit number as sum would find it in a packet.
func word(n uint16) uint64 { return uint64(bits.ReverseBytes16(n)) }
