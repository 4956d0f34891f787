package xsk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Features are what the driver of an interface offers to XDP and AF_XDP, as the
// kernel says.
type Features struct {
	Driver      bool // programs run in the driver
	Redirect    bool // and may redirect packets
	ZeroCopy    bool // the device reads and writes frames itself
	MultiBuffer bool // packets may be longer than a page
	// What [Metadata] may ask for: the time of sending, a checksum.
	TxTime, TxChecksum bool
	// What a program in the driver may ask of a packet that came.
	RxTime, RxHash bool
}

// Generic netlink (linux/genetlink.h) and its family netdev (linux/netdev.h).
const (
	genlIDCtrl       = 16 // GENL_ID_CTRL
	ctrlGetFamily    = 3  // CTRL_CMD_GETFAMILY
	ctrlFamilyID     = 1  // CTRL_ATTR_FAMILY_ID
	ctrlFamilyName   = 2  // CTRL_ATTR_FAMILY_NAME
	netdevDevGet     = 1  // NETDEV_CMD_DEV_GET
	netdevIfindex    = 1  // NETDEV_A_DEV_IFINDEX
	netdevXDP        = 3  // NETDEV_A_DEV_XDP_FEATURES
	netdevRxMetadata = 5  // NETDEV_A_DEV_XDP_RX_METADATA_FEATURES
	netdevXSK        = 6  // NETDEV_A_DEV_XSK_FEATURES

	xdpBasic, xdpRedirect, xdpZeroCopy, xdpRxSG = 1 << 0, 1 << 1, 1 << 3, 1 << 5
	rxTimestamp, rxHash                         = 1 << 0, 1 << 1
	xskTxTimestamp, xskTxChecksum               = 1 << 0, 1 << 1

	nlHeader, genlHeader, attrHeader = 16, 4, 4
)

// DriverFeatures asks for those of the interface with an index in the calling
// thread's network namespace. It needs no capability.
//
// Errors: ErrNotSupported: the kernel does not say (Linux 6.3 does).
func DriverFeatures(ifindex int) (f Features, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return f, fmt.Errorf("xsk: a netlink socket: %w", err)
	}
	defer unix.Close(fd)
	all, err := generic(fd, genlIDCtrl, ctrlGetFamily, attribute(ctrlFamilyName, append([]byte("netdev"), 0)))
	if errors.Is(err, unix.ENOENT) {
		return f, fmt.Errorf("%w: this kernel does not say what drivers offer (Linux 6.3 does): %w", ErrNotSupported, err)
	}
	if err != nil {
		return f, err
	}
	if len(all[ctrlFamilyID]) < 2 {
		return f, errors.New("xsk: the netlink family netdev has no number")
	}
	family := binary.NativeEndian.Uint16(all[ctrlFamilyID])
	if all, err = generic(fd, family, netdevDevGet, attribute(netdevIfindex, binary.NativeEndian.AppendUint32(nil, uint32(ifindex)))); err != nil {
		return f, fmt.Errorf("xsk: what the driver of interface %d offers: %w", ifindex, err)
	}
	xdp, rx, tx := number(all[netdevXDP]), number(all[netdevRxMetadata]), number(all[netdevXSK])
	return Features{
		Driver: xdp&xdpBasic != 0, Redirect: xdp&xdpRedirect != 0, ZeroCopy: xdp&xdpZeroCopy != 0, MultiBuffer: xdp&xdpRxSG != 0,
		TxTime: tx&xskTxTimestamp != 0, TxChecksum: tx&xskTxChecksum != 0,
		RxTime: rx&rxTimestamp != 0, RxHash: rx&rxHash != 0,
	}, nil
}

func number(b []byte) uint64 {
	if len(b) < 8 {
		return 0 // a kernel that does not know of it
	}
	return binary.NativeEndian.Uint64(b)
}

func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(attrHeader+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// generic asks one question and returns the attributes of the answer.
func generic(fd int, family uint16, command byte, attributes []byte) (map[uint16][]byte, error) {
	b := binary.NativeEndian.AppendUint32(nil, uint32(nlHeader+genlHeader+len(attributes)))
	b = binary.NativeEndian.AppendUint16(b, family)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...) // sequence and port: the kernel's answer is the only one
	b = append(append(b, command, 1, 0, 0), attributes...)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("xsk: asking by netlink: %w", err)
	}
	answer := make([]byte, 8<<10)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return nil, fmt.Errorf("xsk: an answer by netlink: %w", err)
	}
	return parseGeneric(answer[:n])
}

// parseGeneric reads an answer.
func parseGeneric(b []byte) (map[uint16][]byte, error) {
	if len(b) < nlHeader+genlHeader {
		return nil, fmt.Errorf("xsk: %d bytes are no answer by netlink", len(b))
	}
	if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR {
		return nil, fmt.Errorf("xsk: asking by netlink: %w", unix.Errno(-int32(binary.NativeEndian.Uint32(b[nlHeader:]))))
	}
	all := map[uint16][]byte{}
	for b = b[nlHeader+genlHeader:]; len(b) >= attrHeader; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < attrHeader || size > len(b) {
			return nil, errors.New("xsk: an answer by netlink has an attribute that goes beyond it")
		}
		all[binary.NativeEndian.Uint16(b[2:])&0x3fff] = b[attrHeader:size]
		b = b[min(len(b), (size+3)&^3):]
	}
	return all, nil
}
