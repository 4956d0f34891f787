package ebpf

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// AttachClassic puts the part of the rules that remembers nothing before a UDP
// socket, as a classic BPF filter: length, magic, version, cluster, hops, and no
// options or extension headers. It needs no capability. Replays and rates are
// then for a [Screen], which gives both together the verdicts of [Pheromone],
// but for fragments: what was put together from them is judged as a whole.
//
// The filter belongs to the socket and ends with it; another call replaces it.
func AttachClassic(fd int, r Rules) error {
	r, err := r.settle()
	if err != nil {
		return err
	}
	program := r.classic()
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	if err != nil {
		return fmt.Errorf("ebpf: putting a filter before the socket: %w (is descriptor %d a UDP socket? was its filter locked?)", err, fd)
	}
	return nil
}

// Where a filter of a UDP socket finds things: its data begin with the UDP
// header, and what is below skfNet counts from the IP header
// (linux/filter.h).
const (
	classicPayload = 8
	skfNet         = 0xfff00000
)

// classic assembles the filter. Each check jumps over a "drop" of its own, so
// that no distance has to be counted.
func (r *Rules) classic() []unix.SockFilter {
	var p []unix.SockFilter
	add := func(code uint16, k uint32) { p = append(p, unix.SockFilter{Code: code, K: k}) }
	drop := func() { add(unix.BPF_RET|unix.BPF_K, 0) }
	must := func(code uint16, k uint32) { // the comparison is to hold
		p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | code, K: k, Jt: 1})
		drop()
	}
	word := func(at int) { add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, uint32(classicPayload+at)) }
	octet := func(at uint32) { add(unix.BPF_LD|unix.BPF_B|unix.BPF_ABS, at) }

	add(unix.BPF_LD|unix.BPF_W|unix.BPF_LEN, 0)
	must(unix.BPF_JGE, classicPayload+ShortestBeacon)
	p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JGT, K: uint32(classicPayload + r.Longest), Jf: 1})
	drop()
	add(unix.BPF_ALU|unix.BPF_SUB|unix.BPF_K, classicPayload)
	add(unix.BPF_ST, 0) // the payload's length
	word(0)
	must(unix.BPF_JEQ, binary.BigEndian.Uint32([]byte(beaconMagic)))
	octet(classicPayload + 4)
	must(unix.BPF_JEQ, uint32(r.Version))
	octet(classicPayload + 7)
	add(unix.BPF_ALU|unix.BPF_LSH|unix.BPF_K, 8)
	add(unix.BPF_MISC|unix.BPF_TAX, 0)
	octet(classicPayload + 6)
	add(unix.BPF_ALU|unix.BPF_OR|unix.BPF_X, 0)
	add(unix.BPF_LDX|unix.BPF_MEM, 0)
	p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_X | unix.BPF_JEQ, Jt: 1})
	drop()
	if r.Cluster != [8]byte{} {
		word(8)
		must(unix.BPF_JEQ, binary.BigEndian.Uint32(r.Cluster[:]))
		word(12)
		must(unix.BPF_JEQ, binary.BigEndian.Uint32(r.Cluster[4:]))
	}
	octet(classicPayload + beaconHops)
	p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JGT, K: uint32(r.MaxHops), Jf: 1})
	drop()
	// Of IPv4 the first byte is 0x45 and the ninth the time to live; of IPv6 the
	// seventh is the next header and the eighth the hop limit.
	octet(skfNet)
	p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ, K: 0x45, Jf: 4})
	octet(skfNet + 8)
	must(unix.BPF_JGE, uint32(r.MinHops))
	add(unix.BPF_RET|unix.BPF_K, 0xffffffff)
	add(unix.BPF_ALU|unix.BPF_RSH|unix.BPF_K, 4)
	must(unix.BPF_JEQ, 6)
	octet(skfNet + 6)
	must(unix.BPF_JEQ, protocolUDP)
	octet(skfNet + 7)
	must(unix.BPF_JGE, uint32(r.MinHops))
	add(unix.BPF_RET|unix.BPF_K, 0xffffffff)
	return p
}

const protocolUDP = 17
