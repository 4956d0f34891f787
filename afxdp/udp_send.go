package afxdp

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Bounds of what the kernel cuts up by itself (UDP_SEGMENT, Linux 4.18).
const (
	// gsoSegments is how many datagrams one message may become
	// (UDP_MAX_SEGMENTS in linux/udp.h; later kernels take 128).
	gsoSegments = 64
	gsoBytes    = 65507
)

// udpSender is the way out. Frames of one length that follow each other go as
// one message, which the kernel or the NIC cuts up (GSO): the way through the
// kernel is then paid once for all of them.
type udpSender struct {
	free    []*outFrame
	batch   mmsgBatch
	ends    [udpBatch]int // frames up to the end of each message
	segment bool          // the kernel may be asked to cut up
}

// bundle makes messages of frames and returns how many, and whether any of them
// is to be cut up.
func (s *udpSender) bundle(fs []*outFrame) (messages int, cut bool) {
	vectors := 0
	for i := 0; i < len(fs); messages++ {
		n, segment := 1, 0
		if s.segment {
			n = run(fs[i:])
		}
		if n > 1 {
			segment, cut = fs[i].n, true
		}
		first := vectors
		for end := i + n; i < end; vectors++ {
			k := piece(fs[i:end])
			s.batch.memory(vectors, fs[i].buf, (k-1)*len(fs[i].buf)+fs[i+k-1].n)
			i += k
		}
		s.batch.outgoing(messages, first, vectors-first, segment)
		s.ends[messages] = i
	}
	return messages, cut
}

// piece is how many frames from the first on are one piece of memory.
func piece(fs []*outFrame) int {
	n := 1
	for n < len(fs) && fs[n].id == fs[n-1].id+1 && fs[n-1].n == len(fs[n-1].buf) {
		n++
	}
	return n
}

// run is how many frames from the first on can go as one message: all as long as
// the first, but for a last one that is shorter.
func run(fs []*outFrame) int {
	size, total := fs[0].n, 0
	for i, f := range fs {
		total += f.n
		if i == gsoSegments || f.n > size || total > gsoBytes {
			return i
		}
		if f.n < size {
			return i + 1
		}
	}
	return len(fs)
}

func (m *udpMedium) send(fs []*outFrame) (n int, err error) {
	s := &m.out
	for {
		messages, cut := s.bundle(fs)
		n, errno := s.batch.send(m.sock, messages)
		switch {
		case n > 0:
			return s.ends[n-1], nil
		case errno == 0:
			return 0, nil
		case cut && (errno == unix.EINVAL || errno == unix.EIO || errno == unix.EMSGSIZE):
			// A path that has become narrower, or an interface without
			// checksum offload (udp_send_skb in net/ipv4/udp.c).
			s.segment = false
			continue
		}
		if again, err := m.failed(errno); !again {
			return 0, err
		}
	}
}

func (m *udpMedium) control(b []byte) error {
	for {
		_, err := unix.Write(m.sock, b)
		if err == nil {
			return nil
		}
		var errno unix.Errno
		if !errors.As(err, &errno) {
			return err
		}
		if again, err := m.failed(errno); !again {
			return err
		}
	}
}

func (m *udpMedium) grab() *outFrame {
	last := len(m.out.free) - 1
	if last < 0 {
		return nil
	}
	f := m.out.free[last]
	m.out.free = m.out.free[:last]
	f.reset()
	return f
}

func (m *udpMedium) put(f *outFrame) { m.out.free = append(m.out.free, f) }
func (m *udpMedium) reclaim()        {}

func (m *udpMedium) putAll(fs []*outFrame) {
	for i := len(fs) - 1; i >= 0; i-- {
		m.put(fs[i])
	}
}
