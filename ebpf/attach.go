package ebpf

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Mode says where in the kernel a program runs.
type Mode int

// The modes. Their names are for people and for configuration files.
const (
	// ModeAuto takes the first of the others that can be had; each program
	// says in which order.
	ModeAuto Mode = iota
	// ModeDriver is XDP in the driver, before the kernel makes a packet of it.
	ModeDriver
	// ModeGeneric is XDP behind that, on every interface.
	ModeGeneric
	// ModeTCX is the traffic control's entry (Linux 6.6), which several
	// programs can share.
	ModeTCX
)

var modeNames = [...]string{ModeAuto: "auto", ModeDriver: "driver", ModeGeneric: "generic", ModeTCX: "tcx"}

func (m Mode) String() string {
	if m >= 0 && int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", int(m))
}

// ParseMode is the opposite of String.
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("ebpf: there is no mode %q: auto, driver, generic and tcx are those that are", s)
}

// attachXDP attaches a program called what to an interface that has none, for as
// long as the link lives.
func attachXDP(p *ebpf.Program, what string, ifindex int, mode Mode) (link.Link, error) {
	flags := link.XDPAttachFlags(0)
	switch mode {
	case ModeAuto:
	case ModeDriver:
		flags = link.XDPDriverMode
	case ModeGeneric:
		flags = link.XDPGenericMode
	default:
		return nil, fmt.Errorf("ebpf: %s is an XDP program; it can't be attached in mode %v", what, mode)
	}
	if err := vacant(ifindex); err != nil {
		return nil, err
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: ifindex, Flags: flags})
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST):
		if taken := vacant(ifindex); taken != nil {
			return nil, taken // somebody was faster
		}
		return nil, fmt.Errorf("%w: interface %d: %w", ErrOccupied, ifindex, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("%w: the driver of %s has no XDP in mode %v; use generic mode (%w)", ErrNotSupported, name(ifindex), mode, err)
	}
	return nil, fmt.Errorf("ebpf: attaching %s to %s in mode %v: %w", what, name(ifindex), mode, err)
}

// attachTCX attaches a program behind those that are there already.
func attachTCX(p *ebpf.Program, what string, ifindex int) (link.Link, error) {
	l, err := link.AttachTCX(link.TCXOptions{Program: p, Interface: ifindex, Attach: ebpf.AttachTCXIngress})
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, ErrNotSupported):
		return nil, fmt.Errorf("ebpf: attaching %s to %s in mode tcx: %w (Linux 6.6 has it)", what, name(ifindex), err)
	}
	return nil, fmt.Errorf("ebpf: attaching %s to %s in mode tcx: %w", what, name(ifindex), err)
}

// vacant returns an *OccupiedError if an XDP program is attached to an
// interface.
func vacant(ifindex int) error {
	there, err := Attached(ifindex)
	if err != nil || len(there) == 0 {
		return err
	}
	return &OccupiedError{Interface: name(ifindex), Attachment: there[0], Program: programName(there[0].ID)}
}

// programName returns a program's name where this process may ask for it
// (CAP_SYS_ADMIN), or nothing.
func programName(id uint32) string {
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return ""
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return ""
	}
	return info.Name
}

func name(ifindex int) string {
	if i, err := net.InterfaceByIndex(ifindex); err == nil {
		return i.Name
	}
	return fmt.Sprintf("interface %d", ifindex)
}
