package ebpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// PinRoot is where attachments are pinned by default: below it
// INTERFACE/PROGRAM/ has the link and the maps.
const PinRoot = "/sys/fs/bpf/cell"

var (
	// ErrNotAttached: there is no such program on that interface.
	ErrNotAttached = errors.New("ebpf: not attached")
	// ErrHeld: a process holds the attachment; it ends with that process.
	ErrHeld = errors.New("ebpf: held by a process")
	// ErrPinned: something is pinned at that place already.
	ErrPinned = errors.New("ebpf: pinned already")
)

const (
	programPheromone = "pheromone"
	programRedirect  = "redirect"

	pinnedLink     = "link"
	pinnedCounters = "counters"
)

// Pin has the attachment outlive the process, as files in the BPF file system
// below root ("": [PinRoot]). [Detach] ends it.
//
// Errors: [ErrNotAttached], [ErrPinned], and what the kernel says.
func (p *Pheromone) Pin(root string) error {
	return pin(root, p.link, p.ifindex, programPheromone, map[string]*ebpf.Map{
		pinnedCounters: p.objects.Counters, "floors": p.objects.Floors, "rules": p.objects.Rules,
	})
}

// Pin is [Pheromone.Pin]. The sockets are pinned too, but a socket leaves them
// when its process ends.
func (r *Redirect) Pin(root string) error {
	if r.chain != nil {
		return fmt.Errorf("%w: beside a dispatcher redirect is pinned already, below %s", ErrPinned, chainRoot())
	}
	return pin(root, r.link, r.ifindex, programRedirect, map[string]*ebpf.Map{
		pinnedCounters: r.objects.Counters, "sockets": r.objects.Sockets, "port": r.objects.Port,
	})
}

func rootOr(root string) string {
	if root == "" {
		return PinRoot
	}
	return filepath.Clean(root)
}

func pin(root string, l link.Link, ifindex int, program string, maps map[string]*ebpf.Map) (err error) {
	if l == nil {
		return fmt.Errorf("%w: attach %s before pinning it", ErrNotAttached, program)
	}
	root = rootOr(root)
	if err := checkBPFFS(root); err != nil {
		return err
	}
	dir := filepath.Join(root, name(ifindex), program)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("ebpf: making the place of pins: %w", err)
	}
	switch err := os.Mkdir(dir, 0o700); {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s; detach what is there first, or remove it if nothing is attached", ErrPinned, dir)
	case err != nil:
		return fmt.Errorf("ebpf: making the place of pins: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unpin(dir))
		}
	}()
	for at, m := range maps {
		if err := m.Pin(filepath.Join(dir, at)); err != nil {
			return fmt.Errorf("ebpf: pinning %s of %s: %w", at, program, err)
		}
	}
	// The link last: where it is, everything is.
	if err := l.Pin(filepath.Join(dir, pinnedLink)); err != nil {
		return fmt.Errorf("ebpf: pinning %s: %w", program, err)
	}
	return nil
}

// checkBPFFS says whether root is, or would be, in a BPF file system.
func checkBPFFS(root string) error {
	for at := root; ; at = filepath.Dir(at) {
		var s unix.Statfs_t
		err := unix.Statfs(at, &s)
		switch {
		case errors.Is(err, unix.ENOENT) && at != filepath.Dir(at):
			continue
		case err != nil:
			return fmt.Errorf("ebpf: looking at %s: %w", at, err)
		case int64(s.Type) != unix.BPF_FS_MAGIC:
			return fmt.Errorf("%w: %s is not in a BPF file system, where alone something can be pinned: mount -t bpf bpf /sys/fs/bpf", ErrNotSupported, root)
		}
		return nil
	}
}

// unpin removes the directory of an attachment, the link first.
func unpin(dir string) error {
	var errs []error
	entries, err := os.ReadDir(dir)
	errs = append(errs, err)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		if a.Name() == pinnedLink {
			return -1
		}
		return strings.Compare(a.Name(), b.Name())
	})
	for _, e := range entries {
		errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
	}
	errs = append(errs, os.Remove(dir))
	_ = os.Remove(filepath.Dir(dir)) // unless another program is there
	return errors.Join(errs...)
}

// pinned is an attachment of which the link was opened.
type pinned struct {
	link    link.Link
	dir     string
	program string // the directory's name
	id      uint32 // of the program
	linkID  uint32
	ifindex int
	mode    Mode // ModeAuto: XDP
}

// openPinned opens the link in a directory.
func openPinned(dir string) (*pinned, error) {
	l, err := link.LoadPinnedLink(filepath.Join(dir, pinnedLink), nil)
	if err != nil {
		return nil, fmt.Errorf("ebpf: opening %s: %w", filepath.Join(dir, pinnedLink), err)
	}
	info, err := l.Info()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ebpf: asking after %s: %w", dir, err), l.Close())
	}
	p := &pinned{link: l, dir: dir, program: filepath.Base(dir), id: uint32(info.Program), linkID: uint32(info.ID)}
	if x := info.XDP(); x != nil {
		p.ifindex = int(x.Ifindex)
	} else if x := info.TCX(); x != nil {
		p.ifindex, p.mode = int(x.Ifindex), ModeTCX
	}
	return p, nil
}

// eachPinned opens what is pinned below root, one after the other.
func eachPinned(root string, f func(*pinned) error) error {
	dirs, err := filepath.Glob(filepath.Join(rootOr(root), "*", "*"))
	if err != nil {
		return fmt.Errorf("ebpf: listing pins: %w", err)
	}
	var errs []error
	for _, dir := range dirs {
		p, err := openPinned(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // of something else, or just being made
		case err != nil:
			errs = append(errs, err)
			continue
		}
		errs = append(errs, f(p), p.link.Close())
	}
	return errors.Join(errs...)
}

// Detach ends the attachment of a program of this package (its name, as in
// [List]) to an interface, which was pinned below root ("": [PinRoot]).
//
// Errors: [ErrNotAttached]; [ErrHeld], where it is attached and not pinned
// there: it ends with the process that holds it, and is nobody else's to end.
func Detach(root string, ifindex int, program string) error {
	dir := filepath.Join(rootOr(root), name(ifindex), program)
	p, err := openPinned(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return notPinned(root, ifindex, program)
	}
	if err != nil {
		return err
	}
	var errs []error
	// Other processes may have it open, too.
	if d, ok := p.link.(interface{ Detach() error }); ok {
		if err := d.Detach(); err != nil && !errors.Is(err, ErrNotSupported) {
			errs = append(errs, fmt.Errorf("ebpf: detaching %s from %s: %w", program, name(ifindex), err))
		}
	}
	return errors.Join(append(errs, unpin(dir), p.link.Close())...)
}

// notPinned says why a program can't be detached or asked.
func notPinned(root string, ifindex int, program string) error {
	there, err := List(root, ifindex)
	if err != nil {
		return err
	}
	for _, l := range there {
		if l.Program == program {
			return fmt.Errorf("%w: program %d (%s) on %s in mode %v is not pinned below %s; end the process that has attached it (bpftool prog show id %d, bpftool link)",
				ErrHeld, l.ID, program, name(ifindex), l.Mode, rootOr(root), l.ID)
		}
	}
	return fmt.Errorf("%w: there is no %s on %s", ErrNotAttached, program, name(ifindex))
}
