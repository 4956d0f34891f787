package xsk

import "encoding/binary"

// Metadata is what may stand before a packet that is sent, and ask the NIC for
// a checksum or the time of sending: struct xsk_tx_metadata, Linux 6.8. Its
// bytes end where the packet begins. Drivers that can't do what is asked drop
// it or ignore it, so ask only for what [DriverFeatures] says.
type Metadata []byte

// MetadataSize is how many bytes it takes.
const MetadataSize = 24

const (
	metadataTimestamp = 1
	metadataChecksum  = 2
)

// AskChecksum has the NIC sum up the packet from start on and store the result
// at start+offset, where the sum over the pseudo-header must stand.
func (m Metadata) AskChecksum(start, offset uint16) {
	binary.NativeEndian.PutUint64(m, binary.NativeEndian.Uint64(m)|metadataChecksum)
	binary.NativeEndian.PutUint16(m[8:], start)
	binary.NativeEndian.PutUint16(m[10:], offset)
}

// AskTime has the NIC note the time at which it sent the packet; it stands
// there when the frame has come back.
func (m Metadata) AskTime() {
	binary.NativeEndian.PutUint64(m, binary.NativeEndian.Uint64(m)|metadataTimestamp)
}

// Time is when the packet was sent, in nanoseconds of the NIC's clock; 0 if
// that is not known. It overlays what AskChecksum wrote.
func (m Metadata) Time() uint64 {
	if binary.NativeEndian.Uint64(m)&metadataTimestamp == 0 {
		return 0
	}
	return binary.NativeEndian.Uint64(m[8:])
}

// Clear asks for nothing.
func (m Metadata) Clear() { clear(m[:MetadataSize]) }
