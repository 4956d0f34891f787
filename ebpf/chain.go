package ebpf

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// libxdp runs several programs on one interface: a dispatcher is what is
// attached, and calls functions of its own one after the other, which the
// programs replace (BPF_PROG_TYPE_EXT). How many there are stands in its code, so
// that who adds a program, or takes one away, makes another dispatcher, attaches
// all programs to that, and puts it in the first one's place in one step. What
// everybody must know of a chain is written down in libxdp's protocol.org:
//
//	/sys/fs/bpf/xdp                          locked by who changes a chain
//	├── dispatch-IFINDEX-ID                  ID: of the dispatcher's program
//	│   ├── prog0-link, prog0-prog           in the order of their calls
//	│   └── …
//
// and the dispatcher's one map has its configuration.
//
// chained is a program of ours in a chain. That it is pinned, as the others are,
// is libxdp's rule: who finds a dispatcher with a program missing takes it for
// none. So it stays, and passes everything on, when its process dies; the next
// one for the same port replaces it.
type chained struct {
	ifindex int
	program *ebpf.Program
	id      ebpf.ProgramID
	owner   *claim // says that this process is there

	mu sync.Mutex
	rtnl
}

// joinChain puts a program into the chain on an interface. load loads it for the place
// that it is to have.
func joinChain(ifindex int, port uint16, tag string, load func(target *ebpf.Program, function string, frags bool) (*ebpf.Program, error)) (*chained, error) {
	owner, err := claimPort(ifindex, port)
	if err != nil {
		return nil, err
	}
	r, err := openRTNL()
	if err != nil {
		return nil, errors.Join(err, owner.Close())
	}
	c := &chained{ifindex: ifindex, owner: owner, rtnl: r}
	err = changeChain(r, ifindex, func(s *chain) error {
		// What a process has left that died.
		s.slots = slices.DeleteFunc(s.slots, func(l slot) bool { return l.tag == tag && servesPort(l.program, port) })
		if len(s.slots) >= maxSlots {
			return fmt.Errorf("%w: the dispatcher on %s has %d programs, which is all that it can", ErrOccupied, s.name, len(s.slots))
		}
		s.slots = append(s.slots, slot{actions: 1<<xdpActionPass | 1<<dispatcherDefault, priority: defaultPriority, flags: s.fragsFlag(),
			load: load, loaded: func(p *ebpf.Program, id ebpf.ProgramID) { c.program, c.id = p, id }})
		slices.SortStableFunc(s.slots, func(a, b slot) int { return cmp.Compare(a.priority, b.priority) })
		return nil
	})
	if err == nil && c.program == nil {
		err = fmt.Errorf("%w: the dispatcher on %s has just gone; try again", ErrOccupied, name(ifindex))
	}
	if err != nil {
		return nil, errors.Join(err, c.free())
	}
	return c, nil
}

const (
	// defaultPriority is what libxdp gives to programs that ask for none.
	defaultPriority = 50
	xdpActionPass   = 2
)

// servesPort says whether a program's map "port" has a port in it.
func servesPort(p *ebpf.Program, port uint16) bool {
	info, err := p.Info()
	if err != nil {
		return false
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			continue
		}
		i, err := m.Info()
		var n uint32
		found := err == nil && i.Name == "port" && m.Lookup(uint32(0), &n) == nil
		_ = m.Close()
		if found {
			return n == uint32(port)
		}
	}
	return false
}

// Attached says whether the program is still in the chain.
func (c *chained) Attached() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := readChain(c.rtnl, c.ifindex)
	if err != nil || s == nil {
		return false, err
	}
	defer s.close()
	return slices.ContainsFunc(s.slots, c.is), nil
}

func (c *chained) is(l slot) bool { return l.id == c.id }

// Close takes the program out of the chain, and the dispatcher away with the last
// one.
func (c *chained) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := changeChain(c.rtnl, c.ifindex, func(s *chain) error {
		n := len(s.slots)
		s.slots = slices.DeleteFunc(s.slots, c.is)
		if len(s.slots) == n {
			return errUnchanged // somebody has taken it out
		}
		return nil
	})
	return errors.Join(err, c.free())
}

func (c *chained) free() error {
	return errors.Join(c.program.Close(), c.owner.Close(), c.rtnl.close())
}

// errUnchanged: a chain is to stay as it is.
var errUnchanged = errors.New("ebpf: unchanged")

// changeChain has f change the chain on an interface, and puts what that makes of
// it in its place. An error of f leaves it as it is.
func changeChain(r rtnl, ifindex int, f func(*chain) error) error {
	lock, err := os.Open(chainRoot())
	if err != nil {
		return rootError(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("ebpf: libxdp's lock: %w", err)
	}
	old, err := readChain(r, ifindex)
	if err != nil {
		return err
	}
	if old == nil {
		return nil // gone, with what was in it
	}
	defer old.close()
	next := *old
	next.slots = slices.Clone(old.slots)
	switch err := f(&next); {
	case errors.Is(err, errUnchanged):
		return nil
	case err != nil:
		return err
	case len(next.slots) == 0:
		if err := r.setXDP(ifindex, -1, old.program.FD(), old.mode); err != nil {
			return err
		}
		_ = removePins(old.pins()) // as replace does
		return nil
	}
	return next.replace(r, old)
}

// rootError is what it means that libxdp's place can't be used.
func rootError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s, where libxdp pins programs, is not there (LIBXDP_BPFFS names another place)", ErrNotSupported, chainRoot())
	}
	return fmt.Errorf("ebpf: libxdp's place: %w", err)
}

// replace makes a dispatcher of s and puts it in the place of old.
func (s *chain) replace(r rtnl, old *chain) (err error) {
	d, id, err := s.dispatcher()
	if err != nil {
		return err
	}
	defer d.Close()
	pins := pinsOf(s.ifindex, id)
	if err := os.Mkdir(pins, 0o700); err != nil {
		return fmt.Errorf("ebpf: a place for pins: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removePins(pins))
		}
	}()
	for i := range s.slots {
		if err := s.slots[i].attach(d, len(s.slots), i, pins); err != nil {
			return err
		}
	}
	if err := r.setXDP(s.ifindex, d.FD(), old.program.FD(), old.mode); err != nil {
		return err
	}
	// The change is made. Pins of the old dispatcher that can't be removed are no
	// part of the new one, and libxdp's xdp-loader clean removes them.
	_ = removePins(old.pins())
	return nil
}

// attach has a program replace the i-th of n functions of a dispatcher, and pins
// it with its link.
func (l *slot) attach(d *ebpf.Program, n, i int, pins string) error {
	// With one program libxdp replaces the dispatcher's own function.
	function := dispatcherName
	if n > 1 {
		function = fmt.Sprintf("prog%d", i)
	}
	if l.load != nil {
		p, err := l.load(d, function, l.flags&unix.BPF_F_XDP_HAS_FRAGS != 0)
		if err != nil {
			return err
		}
		info, err := p.Info()
		if err != nil {
			return errors.Join(fmt.Errorf("ebpf: asking after a program of one's own: %w", err), p.Close())
		}
		id, _ := info.ID()
		l.program = p
		l.loaded(p, id)
	}
	k, err := link.AttachFreplace(d, function, l.program)
	if err != nil {
		return fmt.Errorf("ebpf: attaching program %d to %s of a dispatcher: %w", i, function, err)
	}
	defer k.Close() // the pin keeps it
	if err := k.Pin(filepath.Join(pins, fmt.Sprintf("prog%d-link", i))); err != nil {
		return fmt.Errorf("ebpf: pinning program %d of a dispatcher: %w", i, err)
	}
	clone, err := l.program.Clone() // what is pinned already would be moved
	if err == nil {
		err = errors.Join(clone.Pin(filepath.Join(pins, fmt.Sprintf("prog%d-prog", i))), clone.Close())
	}
	if err != nil {
		return fmt.Errorf("ebpf: pinning program %d of a dispatcher: %w", i, err)
	}
	return nil
}

// chainRoot is where libxdp has its state.
func chainRoot() string {
	if bpffs := os.Getenv("LIBXDP_BPFFS"); bpffs != "" {
		return filepath.Join(bpffs, "xdp")
	}
	return "/sys/fs/bpf/xdp"
}

// pinsOf is where the programs of a dispatcher are pinned.
func pinsOf(ifindex int, id ebpf.ProgramID) string {
	return filepath.Join(chainRoot(), fmt.Sprintf("dispatch-%d-%d", ifindex, id))
}

func (s *chain) pins() string { return pinsOf(s.ifindex, s.id) }

func removePins(dir string) error {
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
	}
	return errors.Join(append(errs, os.Remove(dir))...)
}
