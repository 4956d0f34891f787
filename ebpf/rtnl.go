package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// rtnl is a socket of rtnetlink. It belongs to the network namespace of the thread
// that opened it, wherever it is used. It is used by one goroutine at a time.
type rtnl struct{ fd int }

func openRTNL() (rtnl, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return rtnl{-1}, fmt.Errorf("ebpf: a netlink socket: %w", err)
	}
	return rtnl{fd}, nil
}

func (r rtnl) close() error { return unix.Close(r.fd) }

// setXDP puts the XDP program fd, or none if that is -1, in the place of the one
// that expected is, or where there is none if that is -1, in one step, by netlink,
// as libxdp does: what is attached stays when processes end.
//
// Errors: ErrOccupied: another one is attached by now, or by a bpf_link.
func (r rtnl) setXDP(ifindex, fd, expected int, mode Mode) error {
	const (
		iflaXDPFD, iflaXDPFlags, iflaXDPExpected = 1, 3, 8
		nested                                   = 1 << 15
		flagVacant, flagGeneric, flagDriver      = 1 << 0, 1 << 1, 1 << 2
		flagReplace                              = 1 << 4
	)
	type attribute struct {
		kind  uint16
		value uint32
	}
	flags := uint32(flagDriver)
	if mode == ModeGeneric {
		flags = flagGeneric
	}
	attributes := []attribute{{iflaXDPFD, uint32(int32(fd))}, {iflaXDPFlags, flags | flagVacant}}
	if expected >= 0 {
		attributes[1].value = flags | flagReplace
		attributes = append(attributes, attribute{iflaXDPExpected, uint32(expected)})
	}
	var inner []byte
	for _, a := range attributes {
		inner = binary.NativeEndian.AppendUint16(inner, nlaHeaderSize+4)
		inner = binary.NativeEndian.AppendUint16(inner, a.kind)
		inner = binary.NativeEndian.AppendUint32(inner, a.value)
	}
	outer := binary.NativeEndian.AppendUint16(nil, uint16(nlaHeaderSize+len(inner)))
	outer = binary.NativeEndian.AppendUint16(outer, iflaXDP|nested)
	switch _, err := r.ask(unix.RTM_SETLINK, unix.NLM_F_ACK, ifindex, append(outer, inner...)); {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: the dispatcher on interface %d was changed meanwhile, or a bpf_link holds it: %w", ErrOccupied, ifindex, err)
	case err != nil:
		return fmt.Errorf("ebpf: putting a dispatcher on interface %d: %w", ifindex, err)
	}
	return nil
}

// ask sends a request about an interface and returns the body of the answer, or
// what the kernel says against it.
func (r rtnl) ask(kind, flags uint16, ifindex int, attributes []byte) ([]byte, error) {
	b := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b, uint32(len(b)+len(attributes)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(b[unix.SizeofNlMsghdr+4:], uint32(ifindex))
	if err := unix.Sendto(r.fd, append(b, attributes...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	answer := make([]byte, 64<<10) // an interface with many virtual functions has much to say
	n, _, err := unix.Recvfrom(r.fd, answer, 0)
	switch {
	case err != nil:
		return nil, err
	case n < unix.SizeofNlMsghdr+4:
		return nil, fmt.Errorf("%d bytes are no answer by netlink", n)
	case binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR:
		return answer[unix.SizeofNlMsghdr:n], nil
	}
	if code := -int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return nil, unix.Errno(code)
	}
	return nil, nil
}

// attached lists the XDP programs of an interface, and says what it is called.
func (r rtnl) attached(ifindex int) (name string, all []Attachment, err error) {
	b, err := r.ask(unix.RTM_GETLINK, 0, ifindex, nil)
	switch {
	case errors.Is(err, unix.ENODEV):
		return "", nil, fmt.Errorf("ebpf: there is no interface with index %d in this network namespace", ifindex)
	case err != nil:
		return "", nil, fmt.Errorf("ebpf: asking after interface %d: %w", ifindex, err)
	case len(b) < unix.SizeofIfInfomsg:
		return "", nil, fmt.Errorf("ebpf: asking after interface %d: %d bytes are no answer by netlink", ifindex, len(b))
	}
	for b = b[unix.SizeofIfInfomsg:]; len(b) >= nlaHeaderSize; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < nlaHeaderSize || size > len(b) {
			break
		}
		switch binary.NativeEndian.Uint16(b[2:]) & nlaTypeMask {
		case unix.IFLA_IFNAME:
			name = unix.ByteSliceToString(b[nlaHeaderSize:size])
		case iflaXDP:
			all = parseXDP(b[nlaHeaderSize:size])
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return name, all, nil
}
