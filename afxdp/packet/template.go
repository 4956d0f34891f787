package packet

import (
	"encoding/binary"
	"fmt"
)

// Template is the headers of a flow, made once and copied before each datagram.
type Template struct {
	bytes  [MaxHeaders]byte
	size   int
	ip     int // where the IP header begins
	v6     bool
	header uint64 // sum over the IPv4 header but for its length and checksum
	pseudo uint64 // sum over addresses, protocol and ports
}

// NewTemplate makes the headers of datagrams from a flow's local to its remote
// end. IPv4 forbids fragments (RFC 6864); IPv6 carries a flow label that depends
// on the ports (RFC 6438), so that paths of equal cost are used.
func NewTemplate(f *Flow) (*Template, error) {
	local, remote := f.Local.Addr(), f.Remote.Addr()
	if !f.Local.IsValid() || !f.Remote.IsValid() || local.Is4() != remote.Is4() || f.VLAN > 4094 {
		return nil, fmt.Errorf("packet: %v to %v, VLAN %d, is no flow", f.Local, f.Remote, f.VLAN)
	}
	t := &Template{v6: remote.Is6()}
	b := t.bytes[:0]
	b = append(b, f.RemoteMAC[:]...)
	b = append(b, f.LocalMAC[:]...)
	if f.VLAN != 0 {
		b = binary.BigEndian.AppendUint16(b, typeVLAN)
		b = binary.BigEndian.AppendUint16(b, f.VLAN)
	}
	var ends []byte
	if t.v6 {
		b = binary.BigEndian.AppendUint16(b, typeIPv6)
		t.ip = len(b)
		label := (uint32(f.Local.Port())*0x9e3779b1 ^ uint32(f.Remote.Port())*0x85ebca6b) & 0xfffff
		b = binary.BigEndian.AppendUint32(b, 6<<28|label)
		b = append(b, 0, 0, protocolUDP, hopLimit)
		x, y := local.As16(), remote.As16()
		b = append(append(b, x[:]...), y[:]...)
		ends = b[len(b)-32:]
	} else {
		b = binary.BigEndian.AppendUint16(b, typeIPv4)
		t.ip = len(b)
		b = append(b, 0x45, 0, 0, 0, 0, 0, 0x40, 0, hopLimit, protocolUDP, 0, 0)
		x, y := local.As4(), remote.As4()
		b = append(append(b, x[:]...), y[:]...)
		ends = b[len(b)-8:]
		t.header = sum(b[t.ip:], 0)
	}
	at := len(b)
	b = binary.BigEndian.AppendUint16(b, f.Local.Port())
	b = binary.BigEndian.AppendUint16(b, f.Remote.Port())
	b = append(b, 0, 0, 0, 0)
	t.pseudo = sum(ends, sum(b[at:], word(protocolUDP)))
	t.size = len(b)
	return t, nil
}

// Size is how many bytes its headers take.
func (t *Template) Size() int { return t.size }

// Put writes the headers before a datagram of b[Size():]. With checksum the
// datagram is summed up; IPv6 always is (RFC 8200, section 8.1).
func (t *Template) Put(b []byte, checksum bool) {
	t.Copy(b)
	t.Finish(b, checksum)
}

// Copy writes the headers as far as they don't depend on the datagram. Finish or
// FinishPartial is to follow.
func (t *Template) Copy(b []byte) { copy(b, t.bytes[:t.size]) }

// Finish does what Put does where the headers stand already, left from before:
// it sets what depends on the datagram.
func (t *Template) Finish(b []byte, checksum bool) {
	udp := t.lengths(b)
	length := uint16(len(udp))
	check := uint16(0)
	if checksum || t.v6 {
		// The length counts twice, in the pseudo-header and in UDP's own.
		check = ^fold(sum(udp[udpSize:], t.pseudo+2*word(length)))
		if check == 0 {
			check = 0xffff // 0 would mean that there is none
		}
	}
	binary.BigEndian.PutUint16(udp[6:], check)
}

// lengths sets what depends on the datagram's length, and returns UDP's header
// with the datagram.
func (t *Template) lengths(b []byte) (udp []byte) {
	udp = b[t.size-udpSize:]
	length := uint16(len(udp))
	if t.v6 {
		binary.BigEndian.PutUint16(b[t.ip+4:], length)
	} else {
		total := length + ipv4Size
		binary.BigEndian.PutUint16(b[t.ip+2:], total)
		binary.BigEndian.PutUint16(b[t.ip+10:], ^fold(t.header+word(total)))
	}
	binary.BigEndian.PutUint16(udp[4:], length)
	return udp
}

// FinishPartial does what Finish does, but leaves the sum over the datagram to
// a device: it returns where summing starts and, from there, where the result
// goes.
func (t *Template) FinishPartial(b []byte) (start, offset uint16) {
	udp := t.lengths(b)
	// The device adds all of UDP's header but for this field by itself.
	binary.BigEndian.PutUint16(udp[6:], fold(t.partial(uint16(len(udp)))))
	return uint16(t.size - udpSize), 6
}

// partial is the sum over the pseudo-header alone.
func (t *Template) partial(length uint16) uint64 {
	addresses, n := t.bytes[t.ip+12:], 8
	if t.v6 {
		addresses, n = t.bytes[t.ip+8:], 32
	}
	return sum(addresses[:n], word(protocolUDP)+word(length))
}
