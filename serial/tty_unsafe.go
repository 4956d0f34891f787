package serial

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// golang.org/x/sys/unix has the numbers of these calls but not their
// structures.

// serialRS485 is struct serial_rs485 of include/uapi/linux/serial.h.
type serialRS485 struct {
	flags, delayBefore, delayAfter uint32
	_                              [5]uint32
}

const (
	rs485Enabled      = 1 << 0
	rs485RTSOnSend    = 1 << 1
	rs485RTSAfterSend = 1 << 2
	rs485RxDuringTx   = 1 << 4
	rs485Terminate    = 1 << 5
)

func (r *RS485) kernel() serialRS485 {
	k := serialRS485{flags: rs485Enabled | rs485RTSAfterSend, delayBefore: r.DelayBefore, delayAfter: r.DelayAfter}
	if r.RTSOnSend {
		k.flags = rs485Enabled | rs485RTSOnSend
	}
	if r.Echo {
		k.flags |= rs485RxDuringTx
	}
	if r.TerminateBus {
		k.flags |= rs485Terminate
	}
	return k
}

func setRS485(fd int, r *RS485) error {
	k := r.kernel()
	return ioctl(fd, unix.TIOCSRS485, unsafe.Pointer(&k))
}

// serialStruct is struct serial_struct of include/uapi/linux/serial.h on 64-bit
// systems.
type serialStruct struct {
	typ, line                 int32
	port                      uint32
	irq, flags, fifoSize      int32
	customDivisor, baudBase   int32
	closeDelay                uint16
	ioType, reserved          byte
	hub6                      int32
	closingWait, closingWait2 uint16
	memBase                   uintptr
	memRegShift               uint16
	portHigh                  uint32
	ioMapBase                 uintptr
}

const asyncLowLatency = 1 << 13

func setLowLatency(fd int) error {
	var s serialStruct
	if err := ioctl(fd, unix.TIOCGSERIAL, unsafe.Pointer(&s)); err != nil {
		return err
	}
	s.flags |= asyncLowLatency
	return ioctl(fd, unix.TIOCSSERIAL, unsafe.Pointer(&s))
}

// UARTErrors counts what a UART driver saw since the system started (struct
// serial_icounter_struct).
type UARTErrors struct {
	Received, Sent uint32 // bytes
	Framing        uint32 // no stop bit where one belongs: another baud rate, or noise
	Overrun        uint32 // the UART's own buffer was full
	Parity         uint32
	Break          uint32
	BufferOverrun  uint32 // the tty's buffer was full: nobody read
}

// Errors asks the driver for its counters. USB CDC devices and PTYs have none.
func (p *Port) Errors() (e UARTErrors, err error) {
	// cts dsr rng dcd rx tx frame overrun parity brk buf_overrun reserved[9]
	var k [20]int32
	raw, err := p.SyscallConn()
	if err != nil {
		return e, err
	}
	control := raw.Control(func(fd uintptr) { err = ioctl(int(fd), unix.TIOCGICOUNT, unsafe.Pointer(&k)) })
	if control != nil {
		return e, control
	}
	return UARTErrors{
		Received: uint32(k[4]), Sent: uint32(k[5]), Framing: uint32(k[6]), Overrun: uint32(k[7]),
		Parity: uint32(k[8]), Break: uint32(k[9]), BufferOverrun: uint32(k[10]),
	}, err
}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg)); e != 0 {
		return e
	}
	return nil
}
