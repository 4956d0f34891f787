package ebpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
)

// Pheromone is the loaded program that keeps from the port of discovery what is
// no beacon of this cluster, before it costs anybody much: wrong format, wrong
// cluster, too many hops, repeated, too many from one source. Whatever is for
// other ports passes untouched. It verifies neither signatures nor checksums;
// the socket behind it gets what passes, in the ordinary way.
//
// Its methods may be called from any goroutine, but for Attach, Pin and Close.
type Pheromone struct {
	objects pheromoneObjects
	rules   Rules
	link    link.Link
	ifindex int
	mode    Mode
	why     []string
}

// LoadPheromone loads the program. It is not attached.
//
// Errors: what is wrong with the rules; [ErrPermission], [ErrMemlock],
// [ErrNotSupported], each with what to do.
func LoadPheromone(r Rules) (*Pheromone, error) {
	r, err := r.settle()
	if err != nil {
		return nil, err
	}
	if err := probeFilters(); err != nil {
		return nil, err
	}
	p := &Pheromone{rules: r}
	if err := loadPheromoneObjects(&p.objects, nil); err != nil {
		return nil, loadError("pheromone", err)
	}
	if err := p.objects.Rules.Put(uint32(0), r.forKernel()); err != nil {
		return nil, errors.Join(fmt.Errorf("ebpf: setting the rules: %w", err), p.Close())
	}
	return p, nil
}

// kernelRules is struct rules of bpf/pheromone.c.
type kernelRules struct {
	Cluster             [8]byte
	Interval, Tolerance uint64
	Newcomers, Crowd    uint64
	Port, Longest       uint16
	Version, Left, Hops uint8
	_                   uint8
}

func (r *Rules) forKernel() kernelRules {
	source, crowd := newPace(r.Every, r.Burst), newPace(r.NewEvery, r.NewBurst)
	return kernelRules{
		Cluster:  r.Cluster,
		Interval: source.interval, Tolerance: source.tolerance,
		Newcomers: crowd.interval, Crowd: crowd.tolerance,
		Port: r.Port, Longest: uint16(r.Longest), Version: r.Version, Left: r.MinHops, Hops: r.MaxHops,
	}
}

// Attach attaches the program to the interface with an index. ModeAuto means
// ModeDriver, or where that can't be had (the driver lacks it, another XDP
// program is attached, such as a libxdp dispatcher) ModeTCX, or ModeGeneric;
// [Pheromone.Why] tells. The attachment ends with Close or with the process,
// unless it is pinned.
//
// Errors: *[OccupiedError], which is [ErrOccupied], where XDP was asked for;
// [ErrNotSupported]. Where nothing can be attached, [AttachClassic] and
// [Screen] remain.
func (p *Pheromone) Attach(ifindex int, mode Mode) error {
	if p.link != nil {
		return errors.New("ebpf: this program is attached already; load another for a second interface")
	}
	modes := []Mode{mode}
	if mode == ModeAuto {
		modes = []Mode{ModeDriver, ModeTCX, ModeGeneric}
	}
	p.why = nil
	var errs []error
	for _, m := range modes {
		l, err := p.attach(ifindex, m)
		if err == nil {
			p.link, p.ifindex, p.mode = l, ifindex, m
			return nil
		}
		errs = append(errs, err)
		p.why = append(p.why, fmt.Sprintf("Not %v: %v.", m, err))
	}
	return errors.Join(errs...)
}

func (p *Pheromone) attach(ifindex int, mode Mode) (link.Link, error) {
	if mode == ModeTCX {
		return attachTCX(p.objects.PheromoneTcx, "pheromone", ifindex)
	}
	return attachXDP(p.objects.PheromoneXdp, "pheromone", ifindex, mode)
}

// Mode is how it is attached, and why not in a cheaper way; ModeAuto if it is
// not.
func (p *Pheromone) Mode() (m Mode, why []string) { return p.mode, p.why }

// Rules are those that it follows, defaults filled in.
func (p *Pheromone) Rules() Rules { return p.rules }

// SetFloor has what a node has sent up to a counter dropped from now on: beacons
// of earlier incarnations, and of this one with no greater counter. It is for who
// has verified a signature, so that nobody else can silence the node; who allows
// beacons to overtake each other sets the floor that much lower. Without any only
// beacons that are the same to the last bit of their signature are known as
// repeated.
func (p *Pheromone) SetFloor(node [32]byte, incarnation, counter uint64) error {
	if err := p.objects.Floors.Put(node, [2]uint64{incarnation, counter}); err != nil {
		return fmt.Errorf("ebpf: setting a node's floor: %w", err)
	}
	return nil
}

// PheromoneStats counts packets by Reason, over all CPUs.
type PheromoneStats [reasons]uint64

// Passed is how many were let through, of those for the port.
func (s *PheromoneStats) Passed() uint64 { return s[ReasonAccepted] }

// Dropped is how many were not.
func (s *PheromoneStats) Dropped() (n uint64) {
	for _, each := range s[ReasonOther+1:] {
		n += each
	}
	return n
}

// Stats reads the counters.
func (p *Pheromone) Stats() (s PheromoneStats, err error) {
	err = sumCounters(p.objects.Counters, s[:])
	return s, err
}

// Close detaches the program, unless it is pinned, and lets go of it.
func (p *Pheromone) Close() error {
	var err error
	if p.link != nil {
		err = p.link.Close()
		p.link, p.mode = nil, ModeAuto
	}
	return errors.Join(err, p.objects.Close())
}
