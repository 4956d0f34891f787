package can

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The attributes of a CAN interface (include/uapi/linux/can/netlink.h).
const (
	iflaCanBittiming     = 1
	iflaCanState         = 4
	iflaCanRestart       = 7
	iflaCanDataBittiming = 9
)

// errNoRates: the interface is a virtual one, or down.
var errNoRates = errors.New("the interface has none (a virtual one, or not configured); give InterfaceOptions.Rates")

// rtnetlink sends one request about an interface and returns the answer's
// attributes.
func rtnetlink(kind, flags uint16, index int, attributes []byte) ([]byte, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	defer unix.Close(fd)
	// struct nlmsghdr, then struct ifinfomsg.
	b := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg, 128)
	b = append(b, attributes...)
	binary.NativeEndian.PutUint32(b[0:], uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(b[unix.SizeofNlMsghdr+4:], uint32(index))
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	answer := make([]byte, 32<<10)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	answer = answer[:n]
	if n < unix.SizeofNlMsghdr+4 {
		return nil, errors.New("netlink: an answer too short to be one")
	}
	if binary.NativeEndian.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		if e := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); e != 0 {
			return nil, unix.Errno(-e)
		}
		return nil, nil
	}
	return answer[min(n, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg):], nil
}

// attribute returns the content of the first attribute of a kind, or nil.
func attribute(b []byte, kind uint16) []byte {
	for len(b) >= 4 {
		length := int(binary.NativeEndian.Uint16(b))
		if length < 4 || length > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return b[4:length]
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return nil
}

// putAttribute appends an attribute.
func putAttribute(b []byte, kind uint16, content []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(content)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, content...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// interfaceRates asks the kernel for an interface's bit rates.
func interfaceRates(index int) (Rates, error) {
	answer, err := rtnetlink(unix.RTM_GETLINK, 0, index, nil)
	if err != nil {
		return Rates{}, err
	}
	data := attribute(attribute(answer, unix.IFLA_LINKINFO), unix.IFLA_INFO_DATA)
	r := Rates{Nominal: bitrate(attribute(data, iflaCanBittiming)), Data: bitrate(attribute(data, iflaCanDataBittiming))}
	if r.Nominal == 0 {
		return Rates{}, errNoRates
	}
	return r, nil
}

// canStateBusOff is of enum can_state.
const canStateBusOff = 3

var _ StateBus = (*Socket)(nil)

// Off implements StateBus. A virtual interface has no state.
func (s *Socket) Off() (bool, error) {
	answer, err := rtnetlink(unix.RTM_GETLINK, 0, s.index, nil)
	if err != nil {
		return false, err
	}
	state := attribute(attribute(attribute(answer, unix.IFLA_LINKINFO), unix.IFLA_INFO_DATA), iflaCanState)
	if len(state) < 4 {
		return false, fmt.Errorf("can: %s has no state: is it a virtual interface? %w", s.info.Name, errors.ErrUnsupported)
	}
	return binary.NativeEndian.Uint32(state) == canStateBusOff, nil
}

// bitrate reads the first field of a struct can_bittiming.
func bitrate(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(b))
}

// Restart implements Bus. It needs CAP_NET_ADMIN; without it, have the kernel
// do so: ip link set can0 type can restart-ms 100.
func (s *Socket) Restart() error {
	data := putAttribute(nil, iflaCanRestart, binary.NativeEndian.AppendUint32(nil, 1))
	info := putAttribute(nil, unix.IFLA_INFO_KIND, []byte("can\x00"))
	info = putAttribute(info, unix.IFLA_INFO_DATA, data)
	_, err := rtnetlink(unix.RTM_NEWLINK, unix.NLM_F_ACK, s.index, putAttribute(nil, unix.IFLA_LINKINFO, info))
	if errors.Is(err, unix.EBUSY) { // can_restart_now in the kernel's drivers/net/can/dev/dev.c
		return fmt.Errorf("%w: %s", ErrRunning, s.info.Name)
	} else if err != nil {
		return fmt.Errorf("can: restarting %s: %w; without CAP_NET_ADMIN have the kernel do it: ip link set %s type can restart-ms 100",
			s.info.Name, err, s.info.Name)
	}
	return nil
}
