package ebpf

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// MaxQueues is how many queues of one interface a [Redirect] can serve.
const MaxQueues = 64

// Mode says where in the kernel an XDP program runs.
type Mode int

// The modes. Their names are for people and for configuration files.
const (
	// ModeAuto leaves the choice to the kernel: the driver where it can,
	// otherwise generic.
	ModeAuto Mode = iota
	// ModeDriver runs in the driver, before the kernel makes a packet of it.
	ModeDriver
	// ModeGeneric runs behind that, on every interface.
	ModeGeneric
)

func (m Mode) String() string {
	switch m {
	case ModeAuto:
		return "auto"
	case ModeDriver:
		return "driver"
	case ModeGeneric:
		return "generic"
	}
	return fmt.Sprintf("Mode(%d)", int(m))
}

// Redirect is the loaded program that takes the datagrams of one UDP port to
// AF_XDP sockets. IPv4 and IPv6 are understood, with one VLAN tag or none;
// fragments, IPv4 options and IPv6 extension headers are left to the kernel, as
// is whatever came on a queue for which there is no socket. Its methods may be
// called from any goroutine.
type Redirect struct {
	objects redirectObjects
	link    link.Link
}

// LoadRedirect loads the program for one UDP port, not 0. It is not attached.
//
// Errors: [ErrPermission], [ErrMemlock], [ErrNotSupported], each with what to
// do.
func LoadRedirect(port uint16) (*Redirect, error) {
	if port == 0 {
		return nil, errors.New("ebpf: a redirect needs a UDP port; 0 is none")
	}
	if err := Probe(); err != nil {
		return nil, err
	}
	r := &Redirect{}
	if err := loadRedirectObjects(&r.objects, nil); err != nil {
		return nil, fmt.Errorf("ebpf: loading redirect: %w", err)
	}
	if err := r.objects.Port.Put(uint32(0), uint32(port)); err != nil {
		return nil, errors.Join(fmt.Errorf("ebpf: setting the port: %w", err), r.Close())
	}
	return r, nil
}

// Attach attaches the program to the interface with an index, which must have
// no other. The attachment ends with Close or with the process.
//
// Errors: *[OccupiedError], which is [ErrOccupied]; [ErrNotSupported], where
// the driver or the kernel lacks the mode or bpf_link for XDP (Linux 5.9).
func (r *Redirect) Attach(ifindex int, mode Mode) error {
	if r.link != nil {
		return errors.New("ebpf: this program is attached already; load another for a second interface")
	}
	flags := link.XDPAttachFlags(0)
	switch mode {
	case ModeDriver:
		flags = link.XDPDriverMode
	case ModeGeneric:
		flags = link.XDPGenericMode
	}
	if err := vacant(ifindex); err != nil {
		return err
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: r.objects.Redirect, Interface: ifindex, Flags: flags})
	switch {
	case err == nil:
		r.link = l
		return nil
	case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST):
		if taken := vacant(ifindex); taken != nil {
			return taken // somebody was faster
		}
		return fmt.Errorf("%w: interface %d: %w", ErrOccupied, ifindex, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: the driver of %s has no XDP in mode %v; use generic mode (%w)", ErrNotSupported, name(ifindex), mode, err)
	}
	return fmt.Errorf("ebpf: attaching redirect to %s in mode %v: %w", name(ifindex), mode, err)
}

// vacant returns an *OccupiedError if a program is attached to an interface.
func vacant(ifindex int) error {
	there, err := Attached(ifindex)
	if err != nil || len(there) == 0 {
		return err
	}
	return &OccupiedError{Interface: name(ifindex), Attachment: there[0]}
}

func name(ifindex int) string {
	if i, err := net.InterfaceByIndex(ifindex); err == nil {
		return i.Name
	}
	return fmt.Sprintf("interface %d", ifindex)
}

// SetSocket takes what comes on a queue to the AF_XDP socket fd, in place of
// another if there is one. The map keeps no socket alive: a closed one leaves.
func (r *Redirect) SetSocket(queue uint32, fd int) error {
	if queue >= MaxQueues {
		return fmt.Errorf("ebpf: queue %d; a redirect serves queues 0 to %d", queue, MaxQueues-1)
	}
	if err := r.objects.Sockets.Put(queue, uint32(fd)); err != nil {
		return fmt.Errorf("ebpf: giving queue %d to descriptor %d: %w (is it an AF_XDP socket?)", queue, fd, err)
	}
	return nil
}

// ClearSocket leaves what comes on a queue to the kernel.
func (r *Redirect) ClearSocket(queue uint32) error {
	if err := r.objects.Sockets.Delete(queue); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("ebpf: taking queue %d away: %w", queue, err)
	}
	return nil
}

// RedirectStats counts packets since the program was loaded, over all CPUs.
type RedirectStats struct {
	Redirected uint64 // given to a socket; its ring may have been full
	NoSocket   uint64 // for the port, on a queue without a socket
	Fragments  uint64 // of IP, whatever they were for
	Other      uint64 // everything else
}

// Stats reads the counters.
func (r *Redirect) Stats() (s RedirectStats, err error) {
	for i, sum := range []*uint64{&s.Redirected, &s.NoSocket, &s.Fragments, &s.Other} {
		var each []uint64
		if err := r.objects.Counters.Lookup(uint32(i), &each); err != nil {
			return RedirectStats{}, fmt.Errorf("ebpf: reading counters: %w", err)
		}
		for _, n := range each {
			*sum += n
		}
	}
	return s, nil
}

// Close detaches and unloads the program.
func (r *Redirect) Close() error {
	var err error
	if r.link != nil {
		err = r.link.Close()
		r.link = nil
	}
	return errors.Join(err, r.objects.Close())
}
