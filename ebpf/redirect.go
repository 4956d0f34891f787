package ebpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// MaxQueues is how many queues of one interface a [Redirect] can serve.
const MaxQueues = 64

// Redirect is the loaded program that takes the datagrams of one UDP port to
// AF_XDP sockets. IPv4 and IPv6 are understood, with one VLAN tag or none;
// fragments, IPv4 options and IPv6 extension headers are left to the kernel, as
// is whatever came on a queue for which there is no socket. Its methods may be
// called from any goroutine.
type Redirect struct {
	objects redirectObjects
	link    link.Link
	ifindex int
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
		return nil, loadError("redirect", err)
	}
	if err := r.objects.Port.Put(uint32(0), uint32(port)); err != nil {
		return nil, errors.Join(fmt.Errorf("ebpf: setting the port: %w", err), r.Close())
	}
	return r, nil
}

// Attach attaches the program to the interface with an index, which must have
// no other XDP program. ModeAuto leaves the choice to the kernel: the driver
// where it can, otherwise generic; ModeTCX there is not. The attachment ends
// with Close or with the process, unless it is pinned.
//
// Errors: *[OccupiedError], which is [ErrOccupied]; [ErrNotSupported], where
// the driver or the kernel lacks the mode or bpf_link for XDP (Linux 5.9).
func (r *Redirect) Attach(ifindex int, mode Mode) error {
	if r.link != nil {
		return errors.New("ebpf: this program is attached already; load another for a second interface")
	}
	l, err := attachXDP(r.objects.Redirect, "redirect", ifindex, mode)
	if err == nil {
		r.link, r.ifindex = l, ifindex
	}
	return err
}

// Attached says whether the program is still attached: somebody may have
// detached its bpf_link, or removed the interface. It allocates nothing, so that
// it may be asked often.
func (r *Redirect) Attached() (bool, error) {
	if r.link == nil {
		return false, nil
	}
	l, ok := r.link.(interface{ FD() int })
	if !ok {
		return false, fmt.Errorf("ebpf: redirect's link is a %T, without a descriptor", r.link)
	}
	index, err := linkInterface(l.FD())
	if err != nil {
		return false, fmt.Errorf("ebpf: asking after redirect's link: %w", err)
	}
	return index != 0, nil
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
	var sums [4]uint64
	err = sumCounters(r.objects.Counters, sums[:])
	return RedirectStats{sums[0], sums[1], sums[2], sums[3]}, err
}

// Close detaches the program, unless it is pinned, and lets go of it.
func (r *Redirect) Close() error {
	var err error
	if r.link != nil {
		err = r.link.Close()
		r.link = nil
	}
	return errors.Join(err, r.objects.Close())
}
