package netlab

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of <linux/ethtool.h>.
const (
	ethtoolSetTxChecksum = 0x17
	ethtoolGetChannels   = 0x3c
	ethtoolSetChannels   = 0x3d
)

// ethtool does a command on an interface of the calling thread's namespace.
func ethtool(name string, command unsafe.Pointer) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: command}
	copy(request.name[:], r.Name())
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("netlab: ethtool command %#x on %s: %w", *(*uint32)(command), name, errno)
	}
	return nil
}

// setTxChecksum is ethtool -K NAME tx on|off.
func setTxChecksum(name string, on bool) error {
	value := struct{ command, data uint32 }{command: ethtoolSetTxChecksum}
	if on {
		value.data = 1
	}
	return ethtool(name, unsafe.Pointer(&value))
}

// setQueues is ethtool -L NAME rx N tx N.
func setQueues(name string, n int) error {
	c := struct {
		command                             uint32
		maxRx, maxTx, maxOther, maxCombined uint32
		rx, tx, other, combined             uint32
	}{command: ethtoolGetChannels}
	if err := ethtool(name, unsafe.Pointer(&c)); err != nil {
		return err
	}
	c.command, c.rx, c.tx = ethtoolSetChannels, uint32(n), uint32(n)
	return ethtool(name, unsafe.Pointer(&c))
}
