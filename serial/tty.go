package serial

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Parity is the parity bit of a character.
type Parity uint8

// The parities.
const (
	ParityNone Parity = iota
	ParityOdd
	ParityEven
	ParityMark
	ParitySpace
)

// Mode is how a UART is set. The zero value is 115200 baud, 8N1, no flow
// control; characters always have 8 bits, for frames are bytes. USB CDC devices and PTYs take any mode and ignore most of it.
type Mode struct {
	Baud     int    // bits a second; any number that the hardware divides to; default 115200
	StopBits int    // 1 (default) or 2
	Parity   Parity // default none: frames have checksums

	// RTSCTS has the hardware hold the sender by the RTS and CTS lines. With
	// it a UART loses nothing to a full buffer.
	RTSCTS bool
	// RS485 has the driver switch the transceiver's direction; nil for RS-232
	// and plain UARTs.
	RS485 *RS485
	// LowLatency asks the driver to hand over each byte at once (ASYNC_LOW_
	// LATENCY); on FTDI adapters it takes the latency timer from 16 ms to 1.
	// Drivers that know nothing of it are left as they are.
	LowLatency bool
}

// RS485 is the direction switching of a half-duplex line; see
// Documentation/driver-api/serial/serial-rs485.rst of the kernel.
type RS485 struct {
	RTSOnSend    bool   // RTS is high while sending, and low after; else the reverse
	DelayBefore  uint32 // milliseconds between switching and sending
	DelayAfter   uint32 // milliseconds between sending and switching back
	Echo         bool   // hear what is sent (frames of one's own are dropped)
	TerminateBus bool   // switch on the termination resistor, where there is one
}

const (
	defaultBaud = 115200
	maxBaud     = 50_000_000 // no UART is faster; a typing error is likely
)

func (m *Mode) settle() error {
	if m.Baud == 0 {
		m.Baud = defaultBaud
	}
	if m.StopBits == 0 {
		m.StopBits = 1
	}
	switch {
	case m.Baud < 0 || m.Baud > maxBaud:
		return fmt.Errorf("serial: Mode.Baud is %d; it must be 1 to %d", m.Baud, maxBaud)
	case m.StopBits != 1 && m.StopBits != 2:
		return fmt.Errorf("serial: Mode.StopBits is %d; it must be 1 or 2", m.StopBits)
	case m.Parity > ParitySpace:
		return fmt.Errorf("serial: Mode.Parity is %d, which is none of the parities", m.Parity)
	}
	return nil
}

// Port is an open tty. It is a [Stream] for [Connect].
type Port struct {
	file *os.File
	mode Mode
}

// Open opens a tty for this process alone, sets it to mode, raw, and forgets
// what had come before. Errors are the system's, with what to do about them;
// errors.Is works with fs.ErrNotExist and fs.ErrPermission.
func Open(path string, mode Mode) (*Port, error) {
	if err := mode.settle(); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(path, err)
	}
	p := &Port{file: os.NewFile(uintptr(fd), path), mode: mode}
	if err := p.set(fd); err != nil {
		return nil, errors.Join(fmt.Errorf("serial: %s: %w", path, err), p.file.Close())
	}
	return p, nil
}

func openError(path string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		hint = "; is the device plugged in? /dev/serial/by-id has names that stay"
	case errors.Is(err, unix.EACCES):
		hint = "; join the group that owns it (dialout on Debian)"
	case errors.Is(err, unix.EBUSY):
		hint = "; another process has it"
	}
	return fmt.Errorf("serial: opening the line: %w%s", &os.PathError{Op: "open", Path: path, Err: err}, hint)
}

func (p *Port) set(fd int) error {
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS2); err != nil {
		return fmt.Errorf("not a tty: %w", err)
	}
	// TIOCEXCL keeps out everybody but root, the lock everybody who asks.
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another process has locked it: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TIOCEXCL, 0); err != nil {
		return fmt.Errorf("taking it for this process alone: %w", err)
	}
	if err := setMode(fd, &p.mode); err != nil {
		return err
	}
	if r := p.mode.RS485; r != nil {
		if err := setRS485(fd, r); err != nil {
			return fmt.Errorf("RS-485: %w; the driver can't switch the direction, see the kernel's serial-rs485.rst", err)
		}
	}
	if p.mode.LowLatency {
		if err := setLowLatency(fd); err != nil && !errors.Is(err, unix.ENOTTY) && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("low latency: %w", err)
		}
	}
	return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIOFLUSH)
}

// let ends what keeps others from opening the tty. An error leaves it kept, as
// closing it will not.
func (p *Port) let() {
	raw, err := p.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetInt(int(fd), unix.TIOCNXCL, 0)
		_ = unix.Flock(int(fd), unix.LOCK_UN)
	})
}

// setMode sets speed and characters by termios2, which takes any speed.
func setMode(fd int, m *Mode) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return err
	}
	raw(t)
	t.Cflag &^= unix.CBAUD | unix.CBAUD<<unix.IBSHIFT | unix.CSTOPB | unix.PARENB | unix.PARODD | unix.CMSPAR | unix.CRTSCTS | unix.HUPCL
	// CLOCAL: the modem lines don't matter. Without HUPCL closing leaves DTR
	// up, which resets many a board.
	t.Cflag |= unix.BOTHER | unix.BOTHER<<unix.IBSHIFT | unix.CLOCAL
	t.Ispeed, t.Ospeed = uint32(m.Baud), uint32(m.Baud)
	if m.StopBits == 2 {
		t.Cflag |= unix.CSTOPB
	}
	if m.RTSCTS {
		t.Cflag |= unix.CRTSCTS
	}
	switch m.Parity {
	case ParityOdd:
		t.Cflag |= unix.PARENB | unix.PARODD
	case ParityEven:
		t.Cflag |= unix.PARENB
	case ParityMark:
		t.Cflag |= unix.PARENB | unix.PARODD | unix.CMSPAR
	case ParitySpace:
		t.Cflag |= unix.PARENB | unix.CMSPAR
	}
	if err := unix.IoctlSetTermios(fd, unix.TCSETS2, t); err != nil {
		return fmt.Errorf("setting %d baud: %w", m.Baud, err)
	}
	return checkSpeed(fd, m.Baud)
}

// A UART reaches a speed by dividing its clock, and the driver writes back what
// it reached. Above this many percent off, bytes are misread.
const speedTolerance = 2.5

func checkSpeed(fd, baud int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return err
	}
	if off := 100 * (float64(t.Ospeed)/float64(baud) - 1); off > speedTolerance || off < -speedTolerance {
		return fmt.Errorf("the hardware makes %d baud of %d: choose a speed that its clock divides to", t.Ospeed, baud)
	}
	return nil
}

// raw passes bytes as they are and has reads wait for at least one: with VMIN 0
// an empty line could not be told from one that was hung up.
func raw(t *unix.Termios) {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.INPCK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON | unix.IXOFF | unix.IXANY
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE
	t.Cflag |= unix.CS8 | unix.CREAD
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return err
	}
	raw(t)
	return unix.IoctlSetTermios(fd, unix.TCSETS2, t)
}

// SyscallConn implements [Stream].
func (p *Port) SyscallConn() (syscall.RawConn, error) { return p.file.SyscallConn() }

// Close implements [Stream].
func (p *Port) Close() error { return p.file.Close() }

// Name returns the path that was opened.
func (p *Port) Name() string { return p.file.Name() }

// Mode returns how the port is set, defaults filled in.
func (p *Port) Mode() Mode { return p.mode }
