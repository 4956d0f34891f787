package ebpf

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// dropsAA loads a program of somebody else's, which drops frames whose first byte
// is 0xaa.
func dropsAA(target *ebpf.Program, function string, _ bool) (*ebpf.Program, error) {
	code := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),
		asm.Mov.Imm(asm.R0, xdpPass),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 1),
		asm.JGT.Reg(asm.R4, asm.R3, "out"),
		asm.LoadMem(asm.R4, asm.R2, 0, asm.Byte),
		asm.JNE.Imm(asm.R4, 0xaa, "out"),
		asm.Mov.Imm(asm.R0, 1),
		asm.Return().WithSymbol("out"),
	}
	code[0] = btf.WithFuncMetadata(code[0].WithSymbol("drops"), xdpFunction("drops"))
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: "drops", Type: ebpf.Extension, License: "GPL", AttachTarget: target, AttachTo: function, Instructions: code})
}

// startChain does what libxdp does for the first program on an interface.
func startChain(ifindex int, version byte, mode Mode) error {
	s := &chain{ifindex: ifindex, version: version, mode: mode, slots: []slot{{
		actions: 1<<xdpPass | 1<<dispatcherDefault, priority: 10, load: dropsAA, loaded: func(*ebpf.Program, ebpf.ProgramID) {}}}}
	d, id, err := s.dispatcher()
	if err != nil {
		return err
	}
	defer d.Close()
	if err := os.Mkdir(pinsOf(ifindex, id), 0o700); err != nil {
		return err
	}
	if err := s.slots[0].attach(d, 1, 0, pinsOf(ifindex, id)); err != nil {
		return err
	}
	r, err := openRTNL()
	if err != nil {
		return err
	}
	return errors.Join(s.slots[0].program.Close(), r.setXDP(ifindex, d.FD(), -1, mode), r.close())
}

// extensions skips where the kernel takes no programs that replace functions.
func extensions(t *testing.T) {
	t.Helper()
	s := &chain{version: 2, slots: make([]slot, 1)}
	d, _, err := s.dispatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	p, err := dropsAA(d, dispatcherName, false)
	if errors.Is(err, unix.EPERM) {
		t.Skipf("this kernel refuses what libxdp needs; TestOnOldKernel runs this: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// libxdpRoot makes the place where libxdp has its state.
func libxdpRoot(t *testing.T) {
	t.Helper()
	t.Setenv("LIBXDP_BPFFS", filepath.Dir(bpffs(t)))
	if err := os.Mkdir(chainRoot(), 0o700); err != nil {
		t.Fatal(err)
	}
}

// looksLike checks the priorities of a chain, and that nothing is pinned beside it.
func looksLike(t *testing.T, ifindex int, priorities ...uint32) {
	t.Helper()
	r, err := openRTNL()
	if err != nil {
		t.Error(err)
		return
	}
	defer r.close()
	s, err := readChain(r, ifindex)
	if err != nil || s == nil {
		t.Errorf("the chain: %v, %v", s, err)
		return
	}
	defer s.close()
	var got []uint32
	for _, l := range s.slots {
		got = append(got, l.priority)
	}
	if !slices.Equal(got, priorities) {
		t.Errorf("priorities %v, want %v", got, priorities)
	}
	dirs, err := os.ReadDir(chainRoot())
	dirs = slices.DeleteFunc(dirs, func(d os.DirEntry) bool { return strings.HasPrefix(d.Name(), "cell-") }) // claims
	if err != nil || len(dirs) != 1 || dirs[0].Name() != filepath.Base(s.pins()) {
		t.Errorf("pinned: %v, %v", dirs, err)
	}
}

// verdictOf runs what is attached to an interface.
func verdictOf(t *testing.T, ifindex int, frame []byte) uint32 {
	t.Helper()
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(attached(t, ifindex)[0].ID))
	if err != nil {
		t.Error(err)
		return 0
	}
	defer p.Close()
	code, err := p.Run(&ebpf.RunOptions{Data: frame})
	if err != nil {
		t.Error(err)
	}
	return code
}

func TestBesideADispatcher(t *testing.T) {
	loaded(t, true)
	extensions(t)
	for _, c := range []struct {
		version byte
		mode    Mode
	}{{2, ModeGeneric}, {3, ModeDriver}} {
		t.Run(c.mode.String(), func(t *testing.T) {
			libxdpRoot(t)
			r, s := loaded(t, false), loaded(t, true)
			inNamespace(t, func(t *testing.T, ifindex int) {
				if err := startChain(ifindex, c.version, c.mode); err != nil {
					t.Error(err)
					return
				}
				besideADispatcher(t, ifindex, c.mode, r, s)
			})
		})
	}
}

// besideADispatcher is given two programs for one port; r has a socket.
func besideADispatcher(t *testing.T, ifindex int, mode Mode, r, s *Redirect) {
	other := ModeGeneric
	if mode == other {
		other = ModeDriver
	}
	if err := r.Attach(ifindex, other); !errors.Is(err, ErrOccupied) {
		t.Errorf("in the mode that the dispatcher is not in: %v", err)
	}
	if err := r.Attach(ifindex, mode); err != nil {
		t.Errorf("%+v", err)
		return
	}
	looksLike(t, ifindex, 10, defaultPriority)
	ours := packet{}.build()
	theirs := slices.Clone(ours)
	theirs[0] = 0xaa
	for what, c := range map[string]struct {
		frame []byte
		want  uint32
	}{"ours": {ours, xdpRedirect}, "what the other one drops": {theirs, 1}, "nobody's": {packet{port: 9}.build(), xdpPass}} {
		if got := verdictOf(t, ifindex, c.frame); got != c.want {
			t.Errorf("%s: verdict %d, want %d", what, got, c.want)
		}
	}
	if n, err := r.Stats(); err != nil || n.Redirected != 1 || n.Other < 1 { // the interface has neighbours of its own
		t.Errorf("%+v, %v", n, err)
	}
	if yes, err := r.Attached(); !yes || err != nil {
		t.Errorf("attached: %t, %v", yes, err)
	}
	if err := r.Pin(""); !errors.Is(err, ErrPinned) {
		t.Errorf("pinning what is: %v", err)
	}
	if err := s.Attach(ifindex, ModeAuto); !errors.Is(err, ErrOccupied) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("the same port again: %v", err)
	}
	// Its process dies; the next for the port takes its place.
	dead := r.chain
	r.chain = nil
	if err := errors.Join(dead.program.Close(), dead.owner.folder.Close(), dead.rtnl.close()); err != nil {
		t.Error(err)
	}
	looksLike(t, ifindex, 10, defaultPriority)
	if err := s.Attach(ifindex, ModeAuto); err != nil {
		t.Error(err)
		return
	}
	looksLike(t, ifindex, 10, defaultPriority)
	if got := verdictOf(t, ifindex, ours); got != xdpPass { // s has no socket
		t.Errorf("verdict %d after the first has gone", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	looksLike(t, ifindex, 10)
	if got := verdictOf(t, ifindex, theirs); got != 1 {
		t.Errorf("the other one, alone again: verdict %d", got)
	}
}

// The dispatcher goes with its last program, and one that was put out of a chain
// has nothing left to do.
func TestTheEndOfAChain(t *testing.T) {
	loaded(t, true)
	extensions(t)
	libxdpRoot(t)
	r := loaded(t, true)
	inNamespace(t, func(t *testing.T, ifindex int) {
		if err := startChain(ifindex, 2, ModeGeneric); err != nil {
			t.Error(err)
			return
		}
		if err := r.Attach(ifindex, ModeGeneric); err != nil {
			t.Error(err)
			return
		}
		keepOnly := func(keep func(slot) bool) {
			t.Helper()
			if err := changeChain(r.chain.rtnl, ifindex, func(s *chain) error {
				s.slots = slices.DeleteFunc(s.slots, func(l slot) bool { return !keep(l) })
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		keepOnly(r.chain.is)
		if yes, err := r.Attached(); !yes || err != nil {
			t.Errorf("alone: %t, %v", yes, err)
		}
		closed := make(chan error)
		go func() { closed <- r.Close() }() // on a thread that is in another namespace
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if left := attached(t, ifindex); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
		if dirs, err := os.ReadDir(chainRoot()); err != nil || len(dirs) != 0 {
			t.Errorf("pinned: %v, %v", dirs, err)
		}
	})
}

// A chain that was changed is changed, although something of the one before can't
// be removed.
func TestPinsThatStay(t *testing.T) {
	loaded(t, true)
	extensions(t)
	libxdpRoot(t)
	r := loaded(t, true)
	inNamespace(t, func(t *testing.T, ifindex int) {
		if err := startChain(ifindex, 2, ModeGeneric); err != nil {
			t.Error(err)
			return
		}
		old := pinsOf(ifindex, ebpf.ProgramID(attached(t, ifindex)[0].ID))
		for _, dir := range []string{"", "inner"} { // not empty, so that it stays
			if err := os.Mkdir(filepath.Join(old, "kept", dir), 0o700); err != nil {
				t.Error(err)
			}
		}
		if err := r.Attach(ifindex, ModeGeneric); err != nil {
			t.Errorf("%+v", err)
			return
		}
		if yes, err := r.Attached(); !yes || err != nil {
			t.Errorf("attached: %t, %v", yes, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(old); err != nil {
			t.Errorf("the pins were to stay: %v", err)
		}
	})
}

// One process at a time has a port, and the one after it needs nothing of it.
func TestClaims(t *testing.T) {
	libxdpRoot(t)
	first, err := claimPort(7, testPort)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := claimPort(7, testPort); !errors.Is(err, ErrOccupied) {
		t.Errorf("the same again: %v, %v", second, err)
	}
	other, err := claimPort(8, testPort)
	if err != nil {
		t.Errorf("another interface: %v", err)
	} else if err := other.Close(); err != nil {
		t.Error(err)
	}
	if err := first.folder.Close(); err != nil { // killed
		t.Error(err)
	}
	var holders atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for got := 0; got < 50; {
				c, err := claimPort(7, testPort)
				if errors.Is(err, ErrOccupied) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d have it at once", n)
				}
				holders.Add(-1)
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				got++
			}
		})
	}
	wg.Wait()
	if left, err := os.ReadDir(chainRoot()); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	t.Setenv("LIBXDP_BPFFS", t.TempDir())
	if _, err := claimPort(7, testPort); !errors.Is(err, ErrNotSupported) {
		t.Errorf("without libxdp's place: %v", err)
	}
}

func TestConfigurationOfADispatcher(t *testing.T) {
	whole := func(version byte, n int) *chain {
		s := &chain{version: version, frags: true}
		for i := range n {
			s.slots = append(s.slots, slot{actions: uint32(i) << 30, priority: uint32(100 + i), flags: unix.BPF_F_XDP_HAS_FRAGS})
		}
		return s
	}
	for _, s := range []*chain{whole(2, 1), whole(2, maxSlots), whole(3, 4)} {
		var got chain
		if err := got.parse(s.config()); err != nil {
			t.Error(err)
		}
		if string(got.config()) != string(s.config()) || len(got.slots) != len(s.slots) || got.slots[0].flags != s.slots[0].flags {
			t.Errorf("%+v, want %+v", got, s)
		}
	}
	bad := func(f func(b []byte) []byte) []byte { return f(whole(3, 2).config()) }
	for name, b := range map[string][]byte{
		"nothing":              nil,
		"of before the magic":  bad(func(b []byte) []byte { b[0] = 2; return b }),
		"an older version":     bad(func(b []byte) []byte { b[1] = 1; return b }),
		"a later version":      bad(func(b []byte) []byte { b[1] = 4; return b }),
		"no programs":          bad(func(b []byte) []byte { b[2] = 0; return b }),
		"more than can be":     bad(func(b []byte) []byte { b[2] = maxSlots + 1; return b }),
		"cut short":            bad(func(b []byte) []byte { return b[:configSize-1] }),
		"version 3, cut short": bad(func(b []byte) []byte { return b[:configSize] }),
		"bound to a device":    bad(func(b []byte) []byte { b[configDevice] = 1; return b }),
	} {
		if err := new(chain).parse(b); !errors.Is(err, errForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
