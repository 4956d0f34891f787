package serial

import (
	"encoding/binary"
	"hash/crc32"
)

// A frame's check is chosen by its size: behind up to shortBody bytes stands a
// CRC-16/X-25, behind more a CRC-32C. Both are little endian, so that decoded
// frames of 3 to 10 and from 13 bytes exist, and none of 11 or 12.
//
// A CRC of 16 bits lets one in 65,536 frames through in which a COBS code was
// hit, for that moves several bytes at once: of ten million faulted frames, that
// would be dozens. So the threshold lies below everything whose content matters:
// vesicles (13 bytes and more), hellos and acknowledgements. What it guards is
// the farewell, which carries the session's number and says nothing else.
const (
	shortBody = 8
	crc16Size = 2
	crc32Size = 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	x25        = makeX25()
)

// makeX25 tables the polynomial 0x1021, reflected. crc16 with it is
// CRC-16/IBM-SDLC, known as X-25 (RFC 1171 appendix B has the same table).
func makeX25() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0x8408
			} else {
				c >>= 1
			}
		}
		t[i] = c
	}
	return t
}

func crc16(b []byte) uint16 {
	c := ^uint16(0)
	for _, x := range b {
		c = c>>8 ^ x25[byte(c)^x]
	}
	return ^c
}

// seal writes the check of body behind it and returns the length of both. The
// slice body has the capacity for it.
func seal(body []byte) int {
	n := len(body)
	if n <= shortBody {
		binary.LittleEndian.PutUint16(body[n:n+crc16Size], crc16(body))
		return n + crc16Size
	}
	binary.LittleEndian.PutUint32(body[n:n+crc32Size], crc32.Checksum(body, castagnoli))
	return n + crc32Size
}

// unseal returns what stands before the check of a decoded frame, or why it is
// none.
func unseal(b []byte) (body []byte, err error) {
	n := len(b)
	switch {
	case n > shortBody+crc32Size:
		n -= crc32Size
		if crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
			return nil, ErrCRC
		}
	case n > crc16Size && n <= shortBody+crc16Size:
		n -= crc16Size
		if crc16(b[:n]) != binary.LittleEndian.Uint16(b[n:]) {
			return nil, ErrCRC
		}
	default:
		return nil, ErrSize
	}
	return b[:n], nil
}
