package ebpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Listed is a program that is attached to an interface.
type Listed struct {
	// Program is "pheromone" or "redirect", or what the kernel calls somebody
	// else's, or "" where this process may not know (CAP_SYS_ADMIN).
	Program   string `json:"program"`
	Interface string `json:"interface"`
	Index     int    `json:"index"`
	Mode      Mode   `json:"mode"`
	ID        uint32 `json:"id"`            // of the program
	Link      uint32 `json:"link"`          // of the bpf_link; 0: unknown or none
	Pin       string `json:"pin,omitempty"` // the directory; "": not pinned below root
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// List returns what is attached to the interface with an index, or to all in
// the calling thread's network namespace (0), by XDP and tcx, whoever's it is.
// root is where pins are looked for ("": [PinRoot]).
func List(root string, ifindex int) ([]Listed, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("ebpf: listing interfaces: %w", err)
	}
	pins := map[uint32]Listed{} // by program
	err = eachPinned(root, func(p *pinned) error {
		pins[p.id] = Listed{Program: p.program, Link: p.linkID, Pin: p.dir}
		return nil
	})
	if err != nil {
		return nil, err
	}
	all := []Listed{}
	for _, i := range interfaces {
		if ifindex != 0 && i.Index != ifindex {
			continue
		}
		there, err := attachedTo(i.Index)
		if err != nil {
			return nil, err
		}
		for _, l := range there {
			l.Interface, l.Index = i.Name, i.Index
			if p, ok := pins[l.ID]; ok {
				l.Program, l.Link, l.Pin = p.Program, p.Link, p.Pin
			} else {
				l.Program = ourName(programName(l.ID))
			}
			all = append(all, l)
		}
	}
	if ifindex != 0 && len(all) == 0 {
		if _, err := net.InterfaceByIndex(ifindex); err != nil {
			return nil, fmt.Errorf("ebpf: interface %d: %w", ifindex, err)
		}
	}
	return all, nil
}

// ourName is how a program is called here that the kernel calls so.
func ourName(s string) string {
	if strings.HasPrefix(s, programPheromone+"_") {
		return programPheromone
	}
	return s
}

// attachedTo lists what is attached to an interface, without names.
func attachedTo(ifindex int) (all []Listed, err error) {
	xdp, err := Attached(ifindex)
	if err != nil {
		return nil, err
	}
	for _, a := range xdp {
		all = append(all, Listed{Mode: a.Mode, ID: a.ID})
	}
	// Kernels without tcx, and processes without CAP_NET_ADMIN, have nothing to
	// show.
	r, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return all, nil
	}
	for _, p := range r.Programs {
		l := Listed{Mode: ModeTCX, ID: uint32(p.ID)}
		if id, ok := p.LinkID(); ok {
			l.Link = uint32(id)
		}
		all = append(all, l)
	}
	return all, nil
}

// Counter is one of a program's counters.
type Counter struct {
	Name    string `json:"name"`
	Packets uint64 `json:"packets"`
	Dropped bool   `json:"dropped"` // they went no further
}

// Counters reads what a program of this package has counted on an interface,
// whoever has attached it: by its pin below root ("": [PinRoot]), or else by the
// program's id, which needs CAP_SYS_ADMIN.
//
// Errors: [ErrNotAttached], [ErrPermission].
func Counters(root string, ifindex int, program string) ([]Counter, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(rootOr(root), name(ifindex), program, pinnedCounters), &ebpf.LoadPinOptions{ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		m, err = countersOf(root, ifindex, program)
	}
	if err != nil {
		return nil, err
	}
	defer m.Close()
	switch program {
	case programPheromone:
		var sums PheromoneStats
		if err := sumCounters(m, sums[:]); err != nil {
			return nil, err
		}
		return sums.list(), nil
	case programRedirect:
		var sums [4]uint64
		err := sumCounters(m, sums[:])
		all := []Counter{{Name: "redirected"}, {Name: "no-socket"}, {Name: "fragments"}, {Name: "other"}}
		for i, n := range sums {
			all[i].Packets = n
		}
		return all, err
	}
	return nil, fmt.Errorf("ebpf: %q is no program of this package that counts: %s and %s are", program, programPheromone, programRedirect)
}

func (s *PheromoneStats) list() (all []Counter) {
	for r := range reasons {
		all = append(all, Counter{r.String(), s[r], !r.Passes()})
	}
	return all
}

// countersOf finds the counters of a program that is attached and not pinned.
func countersOf(root string, ifindex int, program string) (*ebpf.Map, error) {
	there, err := List(root, ifindex)
	if err != nil {
		return nil, err
	}
	hidden := false
	for _, l := range there {
		hidden = hidden || l.Program == ""
		if l.Program == program {
			return mapOf(l.ID, pinnedCounters)
		}
	}
	if hidden {
		return nil, fmt.Errorf("%w CAP_SYS_ADMIN: which programs are on %s is not said without it", ErrPermission, name(ifindex))
	}
	return nil, fmt.Errorf("%w: there is no %s on %s", ErrNotAttached, program, name(ifindex))
}

// mapOf opens a program's map by its name.
func mapOf(id uint32, called string) (*ebpf.Map, error) {
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return nil, fmt.Errorf("ebpf: opening program %d: %w", id, err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return nil, fmt.Errorf("ebpf: asking after program %d: %w", id, err)
	}
	ids, _ := info.MapIDs()
	for _, each := range ids {
		m, err := ebpf.NewMapFromID(each)
		if err != nil {
			continue
		}
		if i, err := m.Info(); err == nil && i.Name == called {
			return m, nil
		}
		m.Close()
	}
	return nil, fmt.Errorf("ebpf: program %d has no map %q", id, called)
}
