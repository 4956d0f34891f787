package ebpf

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// bpffs mounts a BPF file system for a test.
func bpffs(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts a BPF file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Skipf("no BPF file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "cell")
}

func TestPinnedOutlivesItsOwner(t *testing.T) {
	loaded(t, true) // skips where nothing can be loaded
	root := bpffs(t)
	for _, mode := range []Mode{ModeDriver, ModeGeneric, ModeTCX} {
		t.Run(mode.String(), func(t *testing.T) {
			inNamespace(t, func(t *testing.T, ifindex int) { testPinned(t, root, ifindex, mode) })
		})
	}
}

func testPinned(t *testing.T, root string, ifindex int, mode Mode) {
	p, err := LoadPheromone(testRules)
	if err != nil {
		t.Error(err)
		return
	}
	defer p.Close()
	if err := p.Pin(root); !errors.Is(err, ErrNotAttached) {
		t.Errorf("pinned and not attached: %v", err)
	}
	if err := p.Attach(ifindex, mode); errors.Is(err, ErrNotSupported) {
		t.Log(err)
		return
	} else if err != nil {
		t.Error(err)
	}
	if err := Detach(root, ifindex, "pheromone"); !errors.Is(err, ErrHeld) {
		t.Errorf("detaching what a process holds: %v", err)
	}
	if c, err := Counters(root, ifindex, "pheromone"); err != nil || len(c) != int(reasons) {
		t.Errorf("counters of what a process holds: %v, %v", c, err)
	}
	if err := p.Pin(root); err != nil {
		t.Error(err)
	}
	if err := p.Pin(root); !errors.Is(err, ErrPinned) {
		t.Errorf("pinned twice: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	all, err := List(root, ifindex)
	want := Listed{Program: "pheromone", Interface: "veth0", Index: ifindex, Mode: mode, Pin: filepath.Join(root, "veth0", "pheromone")}
	if err != nil || len(all) != 1 || all[0].ID == 0 || all[0].Link == 0 {
		t.Errorf("%+v, %v", all, err)
		return
	}
	all[0].ID, all[0].Link = 0, 0
	if all[0] != want {
		t.Errorf("listed %+v, want %+v", all[0], want)
	}
	c, err := Counters(root, ifindex, "pheromone")
	if err != nil || c[ReasonOther].Name != "other" || c[ReasonOther].Dropped || !c[ReasonMagic].Dropped {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := Counters(root, ifindex, "redirect"); !errors.Is(err, ErrNotAttached) {
		t.Errorf("counters of what is not there: %v", err)
	}
	if err := Detach(root, ifindex, "pheromone"); err != nil {
		t.Error(err)
	}
	if err := Detach(root, ifindex, "pheromone"); !errors.Is(err, ErrNotAttached) {
		t.Errorf("detached twice: %v", err)
	}
	if all, err := List(root, ifindex); err != nil || len(all) != 0 {
		t.Errorf("left behind: %+v, %v", all, err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Errorf("pins are left behind: %v, %v", left, err)
	}
}

func TestPinsAreForTheBPFFileSystem(t *testing.T) {
	loaded(t, true)
	dir := t.TempDir()
	inNamespace(t, func(t *testing.T, ifindex int) {
		r := mustLoad(t)
		if r == nil {
			return
		}
		defer r.Close()
		if err := r.Attach(ifindex, ModeGeneric); err != nil {
			t.Error(err)
		}
		if err := r.Pin(filepath.Join(dir, "cell")); !errors.Is(err, ErrNotSupported) {
			t.Errorf("pinned in an ordinary directory: %v", err)
		}
		if all, err := List(dir, 0); err != nil || len(all) != 1 || all[0].Program != "redirect" || all[0].Pin != "" {
			t.Errorf("%+v, %v", all, err)
		}
	})
}
