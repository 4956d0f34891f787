package can

// CRC-16/X-25 (polynomial 0x1021 reflected, initial value 0xFFFF, inverted in
// the end), the one that serial lines have for short frames: over the pieces of
// one vesicle, in addition to the CRC that the controller has for every frame.
// That one can't see a frame that is missing or one that belongs elsewhere.
const crcInit = 0xFFFF

var crcTable = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			c = c>>1 ^ 0x8408&-(c&1)
		}
		t[i] = c
	}
	return t
}()

// crc16 goes on with a CRC, whose last value the caller inverts.
func crc16(c uint16, b []byte) uint16 {
	for _, x := range b {
		c = c>>8 ^ crcTable[byte(c)^x]
	}
	return c
}

// crcID begins the CRC of a vesicle with the identifier of its first frame,
// but for the frame's number, so that a start under another route, or from
// another node, does not pass.
func crcID(id ID) uint16 {
	id &^= sequenceMask
	return crc16(crcInit, []byte{byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24)})
}

// fold continues the running check of a direction, which is not inverted, with
// one data frame.
func fold(c uint16, f *Frame) uint16 {
	c = crc16(c, []byte{byte(f.ID), byte(f.ID >> 8), byte(f.ID >> 16), byte(f.ID >> 24)})
	return crc16(c, f.Bytes())
}

// checkByte is what a flow frame tells of the running check.
func checkByte(c uint16) byte { return byte(c>>8) ^ byte(c) }
