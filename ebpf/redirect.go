package ebpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
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
	port    uint16
	timed   bool
	link    link.Link
	chain   *chained // in place of link: beside other programs
	ifindex int
}

// LoadRedirect loads the program for one UDP port, not 0. It is not attached.
//
// Errors: [ErrPermission], [ErrMemlock], [ErrNotSupported], each with what to
// do.
func LoadRedirect(port uint16) (*Redirect, error) { return RedirectOptions{}.Load(port) }

// LoadRedirectFrags is LoadRedirect for interfaces whose packets may lie in
// several buffers, which drivers want of a program as soon as the MTU goes beyond
// a page (Linux 5.18).
func LoadRedirectFrags(port uint16) (*Redirect, error) {
	return RedirectOptions{Frags: true}.Load(port)
}

// RedirectOptions say how a [Redirect] is loaded.
type RedirectOptions struct {
	// Frags: packets may lie in several buffers; see [LoadRedirectFrags].
	Frags bool
	// Timed puts the time of arrival before each packet that goes to a socket: when
	// the program saw it, in nanoseconds of CLOCK_MONOTONIC, eight bytes of the
	// host's order. Packets of drivers that leave no room there go to the kernel.
	// It can't be had beside a libxdp dispatcher.
	Timed bool
}

// Load is [LoadRedirect] with options.
func (o RedirectOptions) Load(port uint16) (*Redirect, error) {
	if port == 0 {
		return nil, errors.New("ebpf: a redirect needs a UDP port; 0 is none")
	}
	if err := Probe(); err != nil {
		return nil, err
	}
	load := loadRedirect
	if o.Timed {
		load = loadTimed
	}
	spec, err := load()
	if err != nil {
		return nil, loadError("redirect", err)
	}
	if o.Frags {
		spec.Programs["redirect"].Flags |= unix.BPF_F_XDP_HAS_FRAGS
	}
	r := &Redirect{port: port, timed: o.Timed}
	if err := spec.LoadAndAssign(&r.objects, nil); err != nil {
		if err = loadError("redirect", err); o.Frags && errors.Is(err, unix.EINVAL) {
			err = fmt.Errorf("%w: programs for packets in several buffers (Linux 5.18): %w", ErrNotSupported, err)
		}
		return nil, err
	}
	if err := r.objects.Port.Put(uint32(0), uint32(port)); err != nil {
		return nil, errors.Join(fmt.Errorf("ebpf: setting the port: %w", err), r.Close())
	}
	return r, nil
}

// Attach attaches the program to the interface with an index, which must have
// no other XDP program but libxdp's dispatcher. ModeAuto leaves the choice to the
// kernel: the driver where it can, otherwise generic; ModeTCX there is not. The
// attachment ends with Close or with the process, unless it is pinned.
//
// Beside a dispatcher the program becomes one of its own, in its mode, with the
// priority 50 (Linux 5.10, CAP_SYS_ADMIN). It is pinned then, as libxdp's rule is:
// when the process dies without Close it stays, and passes everything on to the
// others, until one for the same port is attached.
//
// Errors: *[OccupiedError], which is [ErrOccupied]; [ErrNotSupported], where
// the driver or the kernel lacks the mode or bpf_link for XDP (Linux 5.9).
func (r *Redirect) Attach(ifindex int, mode Mode) error {
	if r.link != nil || r.chain != nil {
		return errors.New("ebpf: this program is attached already; load another for a second interface")
	}
	l, err := attachXDP(r.objects.Redirect, "redirect", ifindex, mode)
	if err == nil {
		r.link, r.ifindex = l, ifindex
	}
	var taken *OccupiedError
	if errors.As(err, &taken) && taken.Program == dispatcherName && (mode == ModeAuto || mode == taken.Mode) && !r.timed {
		if r.chain, err = r.join(ifindex); err != nil {
			return fmt.Errorf("%w: %w", taken, err)
		}
		r.ifindex = ifindex
	}
	return err
}

// Dispatcher says whether libxdp's dispatcher is what an interface has, and in
// which mode.
func Dispatcher(ifindex int) (a Attachment, there bool, err error) {
	all, err := Attached(ifindex)
	if err != nil || len(all) == 0 {
		return a, false, err
	}
	return all[0], programName(all[0].ID) == dispatcherName, nil
}

func (r *Redirect) join(ifindex int) (*chained, error) {
	info, err := r.objects.Redirect.Info()
	if err != nil {
		return nil, fmt.Errorf("ebpf: asking after a program of one's own: %w", err)
	}
	return joinChain(ifindex, r.port, info.Tag, r.extension)
}

// extension loads the program once more, with the same maps, to replace a
// function of another program.
func (r *Redirect) extension(target *ebpf.Program, function string, frags bool) (*ebpf.Program, error) {
	spec, err := loadRedirect()
	if err != nil {
		return nil, loadError("redirect", err)
	}
	p := spec.Programs["redirect"]
	p.Type, p.AttachType, p.AttachTarget, p.AttachTo = ebpf.Extension, ebpf.AttachNone, target, function
	if frags {
		p.Flags |= unix.BPF_F_XDP_HAS_FRAGS
	}
	p.Instructions[0] = btf.WithFuncMetadata(p.Instructions[0], xdpFunction("redirect"))
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{
		"sockets": r.objects.Sockets, "port": r.objects.Port, "counters": r.objects.Counters}})
	if err != nil {
		return nil, loadError("redirect beside a dispatcher", err)
	}
	defer c.Close()
	return c.DetachProgram("redirect"), nil
}

// Attached says whether the program is still attached: somebody may have
// detached its bpf_link, or removed the interface. But for a program beside a
// dispatcher it allocates nothing, so that it may be asked often.
func (r *Redirect) Attached() (bool, error) {
	if r.chain != nil {
		return r.chain.Attached()
	}
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
	if r.chain != nil {
		err = errors.Join(err, r.chain.Close())
		r.chain = nil
	}
	return errors.Join(err, r.objects.Close())
}
