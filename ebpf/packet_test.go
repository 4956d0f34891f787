package ebpf

import (
	"encoding/binary"
	"slices"
)

const testPort = 4711

// packet describes a frame to build; its zero value is plain UDP over IPv4 to
// testPort.
type packet struct {
	vlans     int
	v6        bool
	port      uint16 // instead of testPort
	proto     byte   // instead of 17
	ethertype uint16 // instead of IP's
	fragment  uint16 // IPv4's flags and offset
	options   int    // words of IPv4 options
	extension []byte // in front of UDP, with proto naming it
	badSum    bool
	source    byte   // the last of the source address
	hops      byte   // instead of 64
	payload   []byte // of UDP, instead of "vesicles"
	udpLength uint16 // instead of what is true
}

func (p packet) build() []byte {
	payload := p.payload
	if payload == nil {
		payload = []byte("vesicles")
	}
	hops := p.hops
	if hops == 0 {
		hops = 64
	}
	size := 8 + len(payload)
	b := make([]byte, 12, 128+size)
	for range p.vlans {
		b = append(b, 0x81, 0, 0, 7)
	}
	ethertype := uint16(0x0800)
	if p.v6 {
		ethertype = 0x86dd
	}
	if p.ethertype != 0 {
		ethertype = p.ethertype
	}
	b = binary.BigEndian.AppendUint16(b, ethertype)
	proto := p.proto
	if proto == 0 {
		proto = 17
	}
	if p.v6 {
		ip := make([]byte, 40)
		ip[0], ip[6], ip[7], ip[23] = 0x60, proto, hops, p.source
		binary.BigEndian.PutUint16(ip[4:], uint16(len(p.extension)+size))
		b = append(append(b, ip...), p.extension...)
	} else {
		ip := make([]byte, 20+4*p.options)
		ip[0], ip[8], ip[9], ip[15] = 0x45+byte(p.options), hops, proto, p.source
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+size))
		binary.BigEndian.PutUint16(ip[6:], p.fragment)
		if p.badSum {
			ip[10] = 0xff
		}
		b = append(b, ip...)
	}
	port := p.port
	if port == 0 {
		port = testPort
	}
	if p.udpLength != 0 {
		size = int(p.udpLength)
	}
	b = binary.BigEndian.AppendUint16(b, 9999)
	b = binary.BigEndian.AppendUint16(b, port)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	return append(append(b, 0, 0), payload...)
}

// verdict is what the program does with a frame.
type verdict int

const (
	redirected verdict = iota
	fragmented
	other
)

// model says what redirect must do with a frame for a queue that has a socket.
func model(b []byte, port uint16) verdict {
	take := func(n int) []byte {
		if len(b) < n {
			return nil
		}
		front := b[:n]
		b = b[n:]
		return front
	}
	eth := take(14)
	if eth == nil {
		return other
	}
	ethertype := binary.BigEndian.Uint16(eth[12:])
	if slices.Contains([]uint16{0x8100, 0x88a8}, ethertype) {
		tag := take(4)
		if tag == nil {
			return other
		}
		ethertype = binary.BigEndian.Uint16(tag[2:])
	}
	switch ethertype {
	case 0x0800:
		ip := take(20)
		if ip == nil || ip[0] != 0x45 || ip[9] != 17 {
			return other
		}
		if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return fragmented
		}
	case 0x86dd:
		ip := take(40)
		switch {
		case ip == nil || ip[0]>>4 != 6:
			return other
		case ip[6] == 44:
			return fragmented
		case ip[6] != 17:
			return other
		}
	default:
		return other
	}
	udp := take(8)
	if udp == nil || binary.BigEndian.Uint16(udp[2:]) != port {
		return other
	}
	return redirected
}
