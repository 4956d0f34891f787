package discovery

import (
	"encoding/binary"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// While a socket is flooded, the kernel lets through what comes from where nodes
// of the table are, and no more: so those that are known are heard, for little,
// and newcomers between two times. Whoever forges such an address gets through,
// to where the socket rests, as without this.
const (
	// siftFor is how long a socket is sifted at a time.
	siftFor = 50 * time.Millisecond
	// siftedMost bounds the addresses; the kernel compares them one by one.
	siftedMost = 512
)

// networkHeader is where a filter finds the header of the network: SKF_NET_OFF.
const networkHeader = 0xfff00000

// sieveFilter is socketFilter for datagrams from some addresses alone, of which
// the last four bytes are compared.
func sieveFilter(cluster [8]byte, six bool, sources []uint32) []unix.SockFilter {
	program := socketFilter(cluster)
	pass, drop := program[len(program)-2], program[len(program)-1]
	program[len(program)-2] = unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: 1} // over the drop
	at := uint32(networkHeader + 12)
	if six {
		at = networkHeader + 8 + 12
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at})
	for _, s := range sources {
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: s, Jf: 1}, pass)
	}
	return append(program, drop)
}

// sources are the last four bytes of the addresses of the living.
func (m *Machine) sources(six bool) (all []uint32) {
	for _, place := range m.table.near() {
		a := m.table.members[place].at().Addr().Unmap()
		if a.Is4() == six {
			continue
		}
		b := a.AsSlice()
		all = append(all, binary.BigEndian.Uint32(b[len(b)-4:]))
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > siftedMost { // others each time
		m.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:siftedMost]
	}
	return all
}

// sift has the kernel sift what comes to a socket, or do so no more. It reports
// whether it does.
func (a *Agent) sift(s *socket, on bool) bool {
	program := socketFilter(a.o.Cluster.ID)
	if on {
		a.mu.Lock()
		sources := a.machine.sources(s.six)
		a.mu.Unlock()
		program = sieveFilter(a.o.Cluster.ID, s.six, sources)
	}
	return replaceFilter(s.conn, program) == nil && on
}

func replaceFilter(c *net.UDPConn, program []unix.SockFilter) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = setFilter(int(fd), program) }); err != nil {
		return err
	}
	return set
}
