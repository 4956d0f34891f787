package packet

import (
	"encoding/binary"
	"net/netip"
)

// Parser takes the datagrams of one flow out of frames.
type Parser struct {
	v6       bool
	vlan     uint16
	ends     [36]byte // addresses as they stand in what arrives, and ports behind
	unsummed bool
}

// NewParser returns the parser of what f's remote end sends to its local one.
//
// With unsummed, datagrams pass whose sender's kernel left the sum to a device
// and none has made it, as between virtual interfaces of one host: the checksum
// is then that of the pseudo-header alone.
func NewParser(f *Flow, unsummed bool) *Parser {
	p := &Parser{v6: f.Remote.Addr().Is6(), vlan: f.VLAN, unsummed: unsummed}
	b := p.ends[:0]
	if p.v6 {
		x, y := f.Remote.Addr().As16(), f.Local.Addr().As16()
		b = append(append(b, x[:]...), y[:]...)
	} else {
		x, y := f.Remote.Addr().As4(), f.Local.Addr().As4()
		b = append(append(b, x[:]...), y[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, f.Remote.Port())
	binary.BigEndian.AppendUint16(b, f.Local.Port())
	return p
}

// Datagram returns what the frame b carries, a part of b.
//
// Errors: ErrShort, ErrForeign, ErrFragment, ErrChecksum.
func (p *Parser) Datagram(b []byte) ([]byte, error) {
	if len(b) < ethernetSize {
		return nil, ErrShort
	}
	proto := binary.BigEndian.Uint16(b[12:])
	b = b[ethernetSize:]
	if proto == typeVLAN || proto == typeQinQ {
		if len(b) < vlanSize {
			return nil, ErrShort
		}
		// A tag that a device has taken off is not seen; one that is must be
		// the flow's. Priority does not matter; id 0 is priority alone.
		if id := binary.BigEndian.Uint16(b) & 0xfff; id != p.vlan && id != 0 {
			return nil, ErrForeign
		}
		proto = binary.BigEndian.Uint16(b[2:])
		b = b[vlanSize:]
	}
	switch {
	case proto == typeIPv4 && !p.v6:
		return p.ipv4(b)
	case proto == typeIPv6 && p.v6:
		return p.ipv6(b)
	}
	return nil, ErrForeign
}

func (p *Parser) ipv4(b []byte) ([]byte, error) {
	if len(b) < ipv4Size+udpSize {
		return nil, ErrShort
	}
	if b[0] != 0x45 || b[9] != protocolUDP || [8]byte(b[12:]) != [8]byte(p.ends[:]) || [4]byte(b[ipv4Size:]) != [4]byte(p.ends[8:]) {
		return nil, ErrForeign
	}
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return nil, ErrFragment
	}
	if fold(sum(b[:ipv4Size], 0)) != 0xffff {
		return nil, ErrChecksum
	}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total < ipv4Size+udpSize || total > len(b) {
		return nil, ErrShort
	}
	return p.udp(b[ipv4Size:total:total], p.ends[:8])
}

func (p *Parser) ipv6(b []byte) ([]byte, error) {
	if len(b) < ipv6Size+udpSize {
		return nil, ErrShort
	}
	if b[0]>>4 != 6 || b[6] != protocolUDP || [32]byte(b[8:]) != [32]byte(p.ends[:]) || [4]byte(b[ipv6Size:]) != [4]byte(p.ends[32:]) {
		return nil, ErrForeign
	}
	total := ipv6Size + int(binary.BigEndian.Uint16(b[4:]))
	if total < ipv6Size+udpSize || total > len(b) {
		return nil, ErrShort
	}
	return p.udp(b[ipv6Size:total:total], p.ends[:32])
}

// udp takes a datagram whose ports have been compared out of its header.
func (p *Parser) udp(b, addresses []byte) ([]byte, error) {
	length := binary.BigEndian.Uint16(b[4:])
	if int(length) < udpSize || int(length) > len(b) {
		return nil, ErrShort
	}
	b = b[:length:length]
	check := binary.BigEndian.Uint16(b[6:])
	if check == 0 {
		if p.v6 {
			return nil, ErrChecksum
		}
		return b[udpSize:], nil
	}
	pseudo := sum(addresses, word(protocolUDP)+word(length))
	if fold(sum(b, pseudo)) != 0xffff && !(p.unsummed && check == fold(pseudo)) {
		return nil, ErrChecksum
	}
	return b[udpSize:], nil
}

// Key identifies a flow among those of one interface, by its addresses and the
// remote port; the local port is left to the program that has chosen the
// packets.
type Key struct {
	Local, Remote netip.Addr
	Port          uint16
}

// Key is f's.
func (f *Flow) Key() Key { return Key{f.Local.Addr(), f.Remote.Addr(), f.Remote.Port()} }

// KeyOf is the key of the flow to which the packet in a frame belongs, as far as
// can be seen: nothing but lengths is checked.
func KeyOf(b []byte) (Key, bool) {
	k, _, _, ok := ends(b)
	return k, ok
}

// FlowOf is the flow to which the packet in a frame belongs, as its receiver
// sees it, as far as can be seen: nothing but lengths is checked.
func FlowOf(b []byte) (f Flow, ok bool) {
	k, port, vlan, ok := ends(b)
	if !ok {
		return f, false
	}
	return Flow{netip.AddrPortFrom(k.Local, port), netip.AddrPortFrom(k.Remote, k.Port), [6]byte(b[0:]), [6]byte(b[6:]), vlan}, true
}

// ends reads the addresses, the ports and the VLAN of a packet.
func ends(b []byte) (k Key, port, vlan uint16, ok bool) {
	if len(b) < ethernetSize {
		return k, 0, 0, false
	}
	proto := binary.BigEndian.Uint16(b[12:])
	b = b[ethernetSize:]
	if proto == typeVLAN || proto == typeQinQ {
		if len(b) < vlanSize {
			return k, 0, 0, false
		}
		vlan = binary.BigEndian.Uint16(b) & 0xfff
		proto = binary.BigEndian.Uint16(b[2:])
		b = b[vlanSize:]
	}
	switch {
	case proto == typeIPv4 && len(b) >= ipv4Size+udpSize:
		k = Key{netip.AddrFrom4([4]byte(b[16:])), netip.AddrFrom4([4]byte(b[12:])), binary.BigEndian.Uint16(b[ipv4Size:])}
		return k, binary.BigEndian.Uint16(b[ipv4Size+2:]), vlan, true
	case proto == typeIPv6 && len(b) >= ipv6Size+udpSize:
		k = Key{netip.AddrFrom16([16]byte(b[24:])), netip.AddrFrom16([16]byte(b[8:])), binary.BigEndian.Uint16(b[ipv6Size:])}
		return k, binary.BigEndian.Uint16(b[ipv6Size+2:]), vlan, true
	}
	return k, 0, 0, false
}
