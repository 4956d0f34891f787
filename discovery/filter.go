package discovery

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// udpHeader is in front of a datagram when a filter of its socket sees it.
const udpHeader = 8

// socketFilter is a classic BPF program (bpf(4), Documentation/networking/
// filter.rst) that lets the datagrams pass to a socket that may be pheromones of
// the cluster: right in length, magic, version and cluster. What it drops wakes
// nobody and takes no room in the socket's queue.
func socketFilter(cluster [8]byte) []unix.SockFilter {
	load := func(size uint16, at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: udpHeader + at}
	}
	length := unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_LEN}
	compare := func(how uint16, k uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | how | unix.BPF_K, K: k}
	}
	program := []unix.SockFilter{
		length, compare(unix.BPF_JGE, udpHeader+MinPacket),
		length, compare(unix.BPF_JGT, udpHeader+MaxPacket),
		load(unix.BPF_W, 0), compare(unix.BPF_JEQ, binary.BigEndian.Uint32([]byte(Magic))),
		load(unix.BPF_B, 4), compare(unix.BPF_JEQ, Version),
		load(unix.BPF_W, 8), compare(unix.BPF_JEQ, binary.BigEndian.Uint32(cluster[:])),
		load(unix.BPF_W, 12), compare(unix.BPF_JEQ, binary.BigEndian.Uint32(cluster[4:])),
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	drop := len(program) - 1
	for i := range program {
		if program[i].Code&7 != unix.BPF_JMP {
			continue
		}
		to := uint8(drop - i - 1)
		if program[i].Code&0xf0 == unix.BPF_JGT { // the one that must not hold
			program[i].Jt = to
		} else {
			program[i].Jf = to
		}
	}
	return program
}

// attachFilter puts the filter on a socket.
func attachFilter(fd int, cluster [8]byte) error {
	return setFilter(fd, socketFilter(cluster))
}

func setFilter(fd int, program []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}
