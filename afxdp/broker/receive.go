package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/ebpf"
)

// ErrRefused: the broker gives no socket; its reason follows.
var ErrRefused = errors.New("broker: refused")

// Handed is a socket that was handed over.
type Handed struct {
	FD        int // not bound; the receiver's
	Interface int // index of the interface that it is for
	Queue     uint32
	Port      uint16    // UDP: what will come
	Mode      ebpf.Mode // where the program runs that sends it there
	Frags     bool      // it takes packets in several buffers
}

// Dial connects to the broker that listens at path and asks it for a queue. The
// connection must stay open while the queue is used; both are the caller's.
//
// Errors: those of [Receive].
func Dial(path string, queue uint32) (*net.UnixConn, Handed, error) {
	a := &net.UnixAddr{Name: path, Net: "unixpacket"}
	c, err := net.DialUnix(a.Net, nil, a)
	if err != nil {
		return nil, Handed{}, fmt.Errorf("broker: %w (does a broker run: cellnode broker?)", err)
	}
	h, err := Receive(c, queue)
	if err != nil {
		return nil, Handed{}, errors.Join(err, c.Close())
	}
	return c, h, nil
}

// Receive asks the broker at the other end of c for a queue. c must stay open
// while the queue is used. The caller owns the descriptor; xsk.Config.FD takes
// it.
//
// Errors: [ErrRefused], what is wrong with the answer, and what the kernel says.
func Receive(c *net.UnixConn, queue uint32) (Handed, error) {
	r := binary.LittleEndian.AppendUint32(nil, magic)
	r = binary.LittleEndian.AppendUint32(r, queue)
	_, asked := c.Write(r)
	if asked != nil && !errors.Is(asked, unix.EPIPE) {
		return Handed{}, fmt.Errorf("broker: asking for queue %d: %w", queue, asked)
	}
	// A broker that refuses this process whatever it asks may have gone, and
	// left the reason.
	b, oob := make([]byte, answerSize+maxReason), make([]byte, unix.CmsgSpace(4*4))
	n, nOOB, _, _, err := c.ReadMsgUnix(b, oob)
	if n == 0 && asked != nil {
		err = asked
	}
	if err != nil {
		return Handed{}, fmt.Errorf("broker: waiting for queue %d: %w", queue, err)
	}
	fds, err := descriptors(oob[:nOOB])
	if err != nil {
		return Handed{}, err
	}
	h, err := parse(b[:n], fds, queue)
	if err != nil {
		for _, fd := range fds {
			_ = unix.Close(fd) // nobody else knows of it
		}
	}
	return h, err
}

// descriptors takes what came beside a message.
func descriptors(oob []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("broker: what came with the answer: %w", err)
	}
	for _, m := range messages {
		got, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // of another kind
		}
		fds = append(fds, got...) // net has asked for close-on-exec
	}
	return fds, nil
}

// parse reads an answer.
func parse(b []byte, fds []int, queue uint32) (Handed, error) {
	if len(b) < answerSize || binary.LittleEndian.Uint32(b) != magic {
		return Handed{}, fmt.Errorf("broker: the answer, %d bytes, is none of a broker's", len(b))
	}
	if status := binary.LittleEndian.Uint32(b[4:]); status != statusGranted {
		return Handed{}, fmt.Errorf("%w: %q", ErrRefused, b[answerSize:])
	}
	h := Handed{
		Interface: int(int32(binary.LittleEndian.Uint32(b[8:]))), Queue: binary.LittleEndian.Uint32(b[12:]),
		Port: binary.LittleEndian.Uint16(b[16:]), Mode: ebpf.Mode(b[18]), Frags: b[19]&answerFrags != 0,
	}
	if len(fds) != 1 || h.Queue != queue || h.Interface <= 0 || h.Port == 0 {
		return Handed{}, fmt.Errorf("broker: the answer has %d descriptors, for queue %d of interface %d", len(fds), h.Queue, h.Interface)
	}
	domain, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_XDP {
		return Handed{}, fmt.Errorf("broker: the descriptor is no AF_XDP socket (domain %d, %v)", domain, err)
	}
	h.FD = fds[0]
	return h, nil
}
