package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// chain is what libxdp's dispatcher on an interface runs.
type chain struct {
	ifindex int
	name    string // of the interface
	mode    Mode
	program *ebpf.Program // the dispatcher
	id      ebpf.ProgramID
	version byte
	frags   bool // it takes packets in several buffers
	slots   []slot
}

// slot is a program in a chain.
type slot struct {
	actions  uint32 // a bit for each verdict of it after which the next is called
	priority uint32 // the lowest is called first
	flags    uint32 // as it was loaded
	program  *ebpf.Program
	id       ebpf.ProgramID
	tag      string
	// load makes program, if that is nil, and loaded is told.
	load   func(target *ebpf.Program, function string, frags bool) (*ebpf.Program, error)
	loaded func(p *ebpf.Program, id ebpf.ProgramID)
}

// struct xdp_dispatcher_config (headers/xdp/prog_dispatcher.h of xdp-tools):
// four bytes, three arrays of maxSlots words, and from version 3 on whether it is
// bound to a device.
const (
	dispatcherName    = "xdp_dispatcher"
	dispatcherMagic   = 236
	dispatcherDefault = 31 // the verdict of a function that nobody has replaced
	maxSlots          = 10
	configSize        = 4 + 3*maxSlots*4
	configSize3       = configSize + 4
	configDevice      = configSize // of version 3
	oldestDispatcher  = 2          // version 1 has its number elsewhere
	newestDispatcher  = 3
)

// errForeign: what is attached is no dispatcher of a kind that is known.
var errForeign = errors.New("not a dispatcher that can be joined")

// parse reads a dispatcher's configuration.
func (s *chain) parse(b []byte) error {
	if len(b) < configSize || b[0] != dispatcherMagic {
		return fmt.Errorf("%w: its map has %d bytes, or is of before xdp-tools 1.3", errForeign, len(b))
	}
	s.version, s.frags = b[1], b[3] != 0
	n := int(b[2])
	switch {
	case s.version < oldestDispatcher || s.version > newestDispatcher:
		return fmt.Errorf("%w: it is of version %d, and %d to %d are known", errForeign, s.version, oldestDispatcher, newestDispatcher)
	case n < 1 || n > maxSlots || s.version == 3 && len(b) < configSize3:
		return fmt.Errorf("%w: its map has %d bytes and speaks of %d programs", errForeign, len(b), n)
	case s.version == 3 && b[configDevice] != 0:
		return fmt.Errorf("%w: it is bound to the device, which programs for other ones may not be beside", errForeign)
	}
	word := func(array, i int) uint32 { return binary.NativeEndian.Uint32(b[4+4*(array*maxSlots+i):]) }
	s.slots = make([]slot, n)
	for i := range s.slots {
		s.slots[i] = slot{actions: word(0, i), priority: word(1, i), flags: word(2, i)}
	}
	return nil
}

// config is the opposite of parse.
func (s *chain) config() []byte {
	b := make([]byte, configSize, configSize3)
	b[0], b[1], b[2] = dispatcherMagic, s.version, byte(len(s.slots))
	if s.frags {
		b[3] = 1
	}
	for i, l := range s.slots {
		for array, v := range []uint32{l.actions, l.priority, l.flags} {
			binary.NativeEndian.PutUint32(b[4+4*(array*maxSlots+i):], v)
		}
	}
	if s.version >= 3 {
		b = b[:configSize3]
	}
	return b
}

func (s *chain) fragsFlag() uint32 {
	if s.frags {
		return unix.BPF_F_XDP_HAS_FRAGS
	}
	return 0
}

// readChain returns the chain on an interface, or nil if nothing is attached
// there. It is to be closed.
func readChain(r rtnl, ifindex int) (_ *chain, err error) {
	name, there, err := r.attached(ifindex)
	if err != nil || len(there) == 0 {
		return nil, err
	}
	s := &chain{ifindex: ifindex, name: name, mode: there[0].Mode, id: ebpf.ProgramID(there[0].ID)}
	defer func() {
		if err != nil {
			err = fmt.Errorf("ebpf: program %d on %s: %w", s.id, name, err)
			s.close()
		}
	}()
	if s.program, err = ebpf.NewProgramFromID(s.id); err != nil {
		return nil, err // CAP_SYS_ADMIN
	}
	b, err := onlyMap(s.program)
	if err != nil {
		return nil, err
	}
	if err := s.parse(b); err != nil {
		return nil, err
	}
	for i := range s.slots {
		l := &s.slots[i]
		if l.program, err = ebpf.LoadPinnedProgram(filepath.Join(s.pins(), fmt.Sprintf("prog%d-prog", i)), nil); err != nil {
			return nil, fmt.Errorf("%w: its programs are not pinned where libxdp's are (LIBXDP_BPFFS names another place): %w", errForeign, err)
		}
		info, err := l.program.Info()
		if err != nil {
			return nil, err
		}
		l.tag = info.Tag
		l.id, _ = info.ID()
	}
	return s, nil
}

// onlyMap is what stands in the one map of a dispatcher.
func onlyMap(p *ebpf.Program) ([]byte, error) {
	info, err := p.Info()
	if err != nil {
		return nil, err
	}
	ids, _ := info.MapIDs()
	if info.Name != dispatcherName || len(ids) != 1 {
		return nil, fmt.Errorf("%w: it is called %q and has %d maps", errForeign, info.Name, len(ids))
	}
	m, err := ebpf.NewMapFromID(ids[0])
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if m.KeySize() != 4 || m.MaxEntries() != 1 {
		return nil, fmt.Errorf("%w: its map is of another shape", errForeign)
	}
	return m.LookupBytes(uint32(0))
}

// close closes what was opened; the chain goes on.
func (s *chain) close() {
	for _, l := range s.slots {
		_ = l.program.Close() // nil is fine
	}
	_ = s.program.Close()
}

// dispatcher loads one for the programs of s.
func (s *chain) dispatcher() (*ebpf.Program, ebpf.ProgramID, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "xdp_disp.rodata", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(s.config())), MaxEntries: 1,
		Flags: unix.BPF_F_RDONLY_PROG, Contents: []ebpf.MapKV{{Key: uint32(0), Value: s.config()}}})
	if err == nil {
		defer m.Close()
		err = m.Freeze()
	}
	if err != nil {
		return nil, 0, loadError("the map of a dispatcher", err)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: dispatcherName, Type: ebpf.XDP, AttachType: ebpf.AttachXDP, Flags: s.fragsFlag(),
		License: "Dual BSD/GPL", Instructions: s.code(m.FD())})
	if err != nil {
		return nil, 0, loadError("a dispatcher", err)
	}
	info, err := p.Info()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("ebpf: asking after a program of one's own: %w", err), p.Close())
	}
	id, _ := info.ID()
	return p, id, nil
}

// code calls one function after the other, as long as their verdicts are among
// those after which that is wanted.
func (s *chain) code(config int) (all asm.Instructions) {
	all = asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1).WithSymbol(dispatcherName),
		asm.LoadMapValue(asm.R1, config, 0), // so that it is found by way of the program
	}
	for i, l := range s.slots {
		all = append(all,
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Call.Label(fmt.Sprintf("prog%d", i)),
			asm.Mov.Imm32(asm.R1, 1),
			asm.And.Imm32(asm.R0, 31), // of a wider shift there is no result
			asm.LSh.Reg32(asm.R1, asm.R0),
			asm.And.Imm32(asm.R1, int32(l.actions)),
			asm.JEq.Imm32(asm.R1, 0, "verdict"))
	}
	all = append(all, asm.Mov.Imm(asm.R0, xdpActionPass), asm.Return().WithSymbol("verdict"))
	all[0] = btf.WithFuncMetadata(all[0], xdpFunction(dispatcherName))
	for i := range s.slots {
		name := fmt.Sprintf("prog%d", i)
		all = append(all,
			btf.WithFuncMetadata(asm.Mov.Imm(asm.R0, dispatcherDefault).WithSymbol(name), xdpFunction(name)),
			asm.Return())
	}
	return all
}

// xdpFunction is the type of a function that may replace another, and be
// replaced: int f(struct xdp_md *ctx).
func xdpFunction(name string) *btf.Func {
	return &btf.Func{Name: name, Linkage: btf.GlobalFunc, Type: &btf.FuncProto{
		Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
		Params: []btf.FuncParam{{Name: "ctx", Type: &btf.Pointer{Target: &btf.Struct{Name: "xdp_md", Size: 24}}}},
	}}
}
