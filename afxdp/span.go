package afxdp

import (
	"encoding/binary"

	"github.com/cell-runtime/cell/afxdp/xsk"
)

// Datagrams beyond a frame of memory (Options.Datagram) take several. A sender's
// lie behind each other, so that a datagram is written in one piece and goes out
// as a descriptor for each frame. Which frames the kernel receives into it alone
// decides: those datagrams are put together, by one copy.
//
// spanOf is how many frames a datagram over IPv6 or IPv4 may take at most.
func spanOf(frameSize, datagram int, v6 bool) int {
	n := 1
	for n < maxSpan && longestIn(n*frameSize, v6) < datagram {
		n++
	}
	return n
}

// maxSpan is how many buffers a packet may have: MAX_SKB_FRAGS (17 by default) of
// a page, and what a packet's front takes.
const maxSpan = 17

// joinedFrame marks the id of a datagram that was put together.
const joinedFrame = 1 << 62

// joiner puts packets together that came in several frames. It has memory for at
// most of them, which it takes when they come.
type joiner struct {
	open    []joining // by queue: a packet of which the rest is to come
	memory  [][]byte
	spare   []int // of memory
	most    int
	longest int // packet, with its headers
}

// joining is a packet of which some frames have come.
type joining struct {
	packet []byte // of memory[at]
	at     int
	when   int64 // its first frame came
	begun  bool
	lost   bool // it has no memory, or is longer than any may be
}

func newJoiner(queues, most, longest int) joiner {
	return joiner{open: make([]joining, queues), memory: make([][]byte, 0, most), spare: make([]int, 0, most), most: most, longest: longest}
}

// add takes the next frame of a packet that came on a queue. done says that it
// was the last; p is nil then if the packet is lost, and otherwise to be given
// back by its id.
func (j *joiner) add(queue int, frame []byte, more bool) (p []byte, id uint64, done bool) {
	o := &j.open[queue]
	if !o.begun {
		at, ok := j.take()
		*o = joining{at: at, begun: true, lost: !ok}
		if ok {
			o.packet = j.memory[at][:0]
		}
	}
	switch {
	case o.lost:
	case frame == nil || len(o.packet)+len(frame) > j.longest:
		o.lost = true
		j.spare = append(j.spare, o.at)
	default:
		o.packet = append(o.packet, frame...)
	}
	if more {
		return nil, 0, false
	}
	o.begun = false
	if o.lost {
		return nil, 0, true
	}
	return o.packet, joinedFrame | uint64(o.at), true
}

// take finds memory for a packet.
func (j *joiner) take() (at int, ok bool) {
	if last := len(j.spare) - 1; last >= 0 {
		at, j.spare = j.spare[last], j.spare[:last]
		return at, true
	}
	if len(j.memory) == j.most {
		return 0, false
	}
	j.memory = append(j.memory, make([]byte, j.longest))
	return len(j.memory) - 1, true
}

// packet is the one that a descriptor of a queue is, or ends, and when it came;
// whole is false while the rest is to come. A nil one is to be dropped.
func (s *station) packet(queue int, d xsk.Desc) (p []byte, id uint64, when int64, whole bool) {
	p, when = s.sockets.Packet(d), s.arrival(d)
	more := d.Options&xsk.OptionContinued != 0
	switch {
	case s.span == 1 && more:
		p = nil // not asked for
	case s.span > 1 && (more || s.joiner.open[queue].begun):
		o := &s.joiner.open[queue]
		begun := o.begun
		joined, id, done := s.joiner.add(queue, p, more)
		if !begun {
			o.when = when
		}
		s.free(d.Address)
		return joined, id, o.when, done
	}
	if p == nil {
		s.free(d.Address)
	}
	return p, d.Address, when, true
}

// arrival is the time that the program has put before a packet, or 0.
func (s *station) arrival(d xsk.Desc) int64 {
	if !s.timed {
		return 0
	}
	b := s.sockets.Packet(xsk.Desc{Address: d.Address - stampSize, Length: stampSize})
	if b == nil {
		return 0
	}
	return int64(binary.NativeEndian.Uint64(b))
}

const stampSize = 8

// free takes back the memory of something that was received.
func (s *station) free(id uint64) {
	if id&joinedFrame != 0 {
		s.joiner.spare = append(s.joiner.spare, int(id&^joinedFrame))
		return
	}
	s.rest = append(s.rest, s.frameAt(id))
}

// sendAt is the address of the i-th place to send from.
func (s *station) sendAt(i int) uint64 { return uint64(s.receiving+i*s.span) * uint64(s.frameSize) }
