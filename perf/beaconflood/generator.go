package main

import (
	"encoding/binary"

	"github.com/cell-runtime/cell/afxdp/netlab"
)

const counterAt = 14 + 20 + 8 + 56

// newGenerator sends to host A from host B, each frame a different one; with
// sink it drops instead.
func newGenerator(lab *netlab.Lab, payload []byte, sink bool) (*netlab.Generator, error) {
	frame, err := frameOf(lab, payload)
	if err != nil {
		return nil, err
	}
	return netlab.NewGenerator(lab.B, frame, netlab.Vary{At: counterAt, Drop: sink})
}

// frameOf is a UDP datagram from B to A.
func frameOf(lab *netlab.Lab, payload []byte) ([]byte, error) {
	to, err := lab.A.Net.LinkByName(lab.A.Interface)
	if err != nil {
		return nil, err
	}
	from, err := lab.B.Net.LinkByName(lab.B.Interface)
	if err != nil {
		return nil, err
	}
	f := append(append(append([]byte{}, to.Attrs().HardwareAddr...), from.Attrs().HardwareAddr...), 8, 0)
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	copy(ip[12:], lab.B.V4.AsSlice())
	copy(ip[16:], lab.A.V4.AsSlice())
	sum := uint32(0)
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	udp := binary.BigEndian.AppendUint16(nil, 9999)
	udp = binary.BigEndian.AppendUint16(udp, port)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	return append(append(append(f, ip...), append(udp, 0, 0)...), payload...), nil
}
