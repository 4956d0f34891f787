package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/internal/kernelvm/guest"
)

// iflaCanBittiming: include/uapi/linux/can/netlink.h.
const iflaCanBittiming = 1

// raise makes an interface, unless it is there, and brings it up.
func raise(l guest.Link) error {
	if _, err := net.InterfaceByName(l.Name); err != nil {
		attributes := attribute(nil, unix.IFLA_IFNAME, append([]byte(l.Name), 0))
		attributes = attribute(attributes, unix.IFLA_LINKINFO, attribute(nil, unix.IFLA_INFO_KIND, []byte(l.Kind)))
		if err := request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, 0, false, attributes); err != nil {
			return fmt.Errorf("making it: %w", err)
		}
	}
	i, err := net.InterfaceByName(l.Name)
	if err != nil {
		return err
	}
	var attributes []byte
	if l.MTU != 0 {
		attributes = attribute(attributes, unix.IFLA_MTU, binary.NativeEndian.AppendUint32(nil, l.MTU))
	}
	if l.Bitrate != 0 {
		// struct can_bittiming: eight numbers, of which the first suffices.
		timing := append(binary.NativeEndian.AppendUint32(nil, l.Bitrate), make([]byte, 28)...)
		info := attribute(nil, unix.IFLA_INFO_KIND, []byte(l.Kind))
		info = attribute(info, unix.IFLA_INFO_DATA, attribute(nil, iflaCanBittiming, timing))
		attributes = attribute(attributes, unix.IFLA_LINKINFO, info)
	}
	if len(attributes) > 0 {
		if err := request(unix.RTM_NEWLINK, 0, i.Index, false, attributes); err != nil {
			return fmt.Errorf("configuring it: %w", err)
		}
	}
	if err := request(unix.RTM_NEWLINK, 0, i.Index, true, nil); err != nil {
		return fmt.Errorf("bringing it up: %w", err)
	}
	return nil
}

func attribute(b []byte, kind uint16, content []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(content)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, content...)
	return append(b, make([]byte, -len(b)&3)...)
}

// request sends one rtnetlink(7) message about an interface.
func request(kind, flags uint16, index int, up bool, attributes []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b := append(make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg), attributes...)
	binary.NativeEndian.PutUint32(b[0:], uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	info := b[unix.SizeofNlMsghdr:]
	binary.NativeEndian.PutUint32(info[4:], uint32(index))
	if up {
		binary.NativeEndian.PutUint32(info[8:], unix.IFF_UP)
		binary.NativeEndian.PutUint32(info[12:], unix.IFF_UP)
	}
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	switch {
	case err != nil:
		return err
	case n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR:
		return errors.New("an answer that is no acknowledgement")
	}
	if e := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); e != 0 {
		return unix.Errno(-e)
	}
	return nil
}
