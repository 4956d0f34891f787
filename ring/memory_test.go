package ring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSizesOfCreate(t *testing.T) {
	for _, size := range []int{4 << 10, 8 << 10, 64 << 10, 256 << 10, 1 << 20, 32 << 20} {
		m := newMemory(t, Options{Size: size})
		if m.Size() != size || m.Kind() != SPSC || m.HugePages() || m.MaxPayload() != maxPayload(uint64(size)) {
			t.Errorf("%d bytes: size %d, %v, huge %v, payloads up to %d", size, m.Size(), m.Kind(), m.HugePages(), m.MaxPayload())
		}
	}
	for _, size := range []int{-1, 1, 64, 2048, 4095, 4097, 6 << 10, 1<<20 + 64, 3 << 20, 1<<30 - 1, 1<<30 + 1, 2 << 30, 1 << 40, -1 << 63} {
		_, err := Create(Options{Size: size})
		wants(t, fmt.Sprintf("Create with %d bytes", size), err, ErrSize)
	}
	if m := newMemory(t, Options{}); m.Size() != DefaultSize {
		t.Errorf("without a size: %d bytes, want %d", m.Size(), DefaultSize)
	}
	_, err := Create(Options{Kind: Broadcast + 1})
	wants(t, "Create of a kind that does not exist", err, ErrKind)
}

func TestTheLargestRing(t *testing.T) {
	if brief() {
		t.Skip("allocates 1 GiB")
	}
	m, err := Create(Options{Size: MaxSize})
	if errors.Is(err, ErrMemory) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	closed(t, m.Close())
}

func TestPrefaultedMemoryIsResident(t *testing.T) {
	skipEmulated(t, "/proc/self/smaps is the emulator's")
	m := newMemory(t, Options{Size: 1 << 20, Prefault: true, Name: "prefaulted"})
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(smaps), "/memfd:cell-prefaulted")
	if !ok {
		t.Fatal("the ring's name does not show in /proc/self/smaps")
	}
	_, rest, _ = strings.Cut(rest, "Rss:")
	var rss int
	if _, err := fmt.Sscan(rest, &rss); err != nil || rss*1024 != m.Size()+controlSize {
		t.Errorf("%d KiB resident (%v), want all of %d bytes", rss, err, m.Size()+controlSize)
	}
}

func TestHugePagesOrAClearRefusal(t *testing.T) {
	m, err := Create(Options{HugePages: true})
	if err != nil {
		wants(t, "Create", err, ErrHugePages)
		if !strings.Contains(err.Error(), "vm.nr_hugepages") {
			t.Errorf("%v: does not say how to reserve some", err)
		}
		t.Skip("no huge pages here: ", err)
	}
	defer m.Close()
	if far := attachAgain(t, m); !m.HugePages() || !far.HugePages() {
		t.Errorf("huge: created %v, attached %v", m.HugePages(), far.HugePages())
	}
}

func TestMemoryIsSealed(t *testing.T) {
	m := newMemory(t, Options{Size: MinSize})
	total := int64(MinSize + controlSize)
	for _, size := range []int64{0, total - 1, total + 4096} {
		if err := unix.Ftruncate(m.FD(), size); !errors.Is(err, unix.EPERM) {
			t.Errorf("ftruncate to %d bytes: %v, want EPERM", size, err)
		}
	}
	if _, err := unix.FcntlInt(uintptr(m.FD()), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); !errors.Is(err, unix.EPERM) {
		t.Errorf("a further seal: %v, want EPERM", err)
	}
}

// forged is memory as a peer could have prepared it: an honest ring, changed.
type forged struct {
	kind  Kind // of the honest ring
	size  int64
	seals int
	flags int
	head  func(head arena)
}

func forge(t *testing.T, f forged) int {
	t.Helper()
	fd, err := unix.MemfdCreate("cell-forged", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|f.flags)
	if err != nil {
		t.Skip("memfd_create: ", err)
	}
	if err := unix.Ftruncate(fd, f.size); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 64)
	a := newArena(head)
	*a.u64(offMagic), *a.word(offVersion), *a.word(offKind) = magic, version, uint32(f.kind)
	*a.u64(offSize), *a.word(offDataOffset) = MinSize, uint32(dataOffset(f.kind))
	if f.head != nil {
		f.head(a)
	}
	if _, err := unix.Pwrite(fd, head[:min(f.size, 64)], 0); err != nil {
		t.Fatal(err)
	}
	if f.seals != 0 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, f.seals); err != nil {
			t.Fatal(err)
		}
	}
	return fd
}

func TestAttachRefusesWhatAPeerPrepared(t *testing.T) {
	const size = MinSize + controlSize
	for _, v := range []struct {
		name string
		f    forged
		want error
	}{
		{"no seals", forged{size: size}, ErrSeals},
		{"may shrink", forged{size: size, seals: seals &^ unix.F_SEAL_SHRINK}, ErrSeals},
		{"may grow", forged{size: size, seals: seals &^ unix.F_SEAL_GROW}, ErrSeals},
		{"seals not sealed", forged{size: size, seals: seals &^ unix.F_SEAL_SEAL}, ErrSeals},
		{"sealed against writing", forged{size: size, seals: seals | unix.F_SEAL_WRITE}, ErrSeals},
		{"sealed against future writing", forged{size: size, seals: seals | unix.F_SEAL_FUTURE_WRITE}, ErrSeals},
		{"empty", forged{size: 0, seals: seals}, ErrFormat},
		{"only a head", forged{size: 64, seals: seals}, ErrFormat},
		{"one byte short", forged{size: size - 1, seals: seals}, ErrFormat},
		{"one byte long", forged{size: size + 1, seals: seals}, ErrFormat},
		{"twice as long", forged{size: 2 * size, seals: seals}, ErrFormat},
		{"huge size without huge pages", forged{size: hugePage, seals: seals}, ErrFormat},
		{"terabytes", forged{size: 1 << 40, seals: seals}, ErrFormat},
		{"wrong magic", forged{size: size, seals: seals, head: func(a arena) { *a.u64(offMagic)++ }}, ErrFormat},
		{"version 0", forged{size: size, seals: seals, head: func(a arena) { *a.word(offVersion) = 0 }}, ErrFormat},
		{"later version", forged{size: size, seals: seals, head: func(a arena) { *a.word(offVersion)++ }}, ErrFormat},
		{"kind 0", forged{size: size, seals: seals, head: func(a arena) { *a.word(offKind) = 0 }}, ErrKind},
		{"another kind", forged{size: size, seals: seals, kind: MPSC}, ErrKind},
		{"kind 4", forged{size: size, seals: seals, head: func(a arena) { *a.word(offKind) = 4 }}, ErrKind},
		{"size 0", forged{size: size, seals: seals, head: func(a arena) { *a.u64(offSize) = 0 }}, ErrFormat},
		{"size no power of two", forged{size: size, seals: seals, head: func(a arena) { *a.u64(offSize) = MinSize + 64 }}, ErrFormat},
		{"size beyond the memory", forged{size: size, seals: seals, head: func(a arena) { *a.u64(offSize) *= 2 }}, ErrFormat},
		{"size below the least", forged{size: size - MinSize/2, seals: seals, head: func(a arena) { *a.u64(offSize) /= 2 }}, ErrFormat},
		{"size of 2⁶³", forged{size: size, seals: seals, head: func(a arena) { *a.u64(offSize) = 1 << 63 }}, ErrFormat},
		{"records at 0", forged{size: size, seals: seals, head: func(a arena) { *a.word(offDataOffset) = 0 }}, ErrFormat},
		{"records unaligned", forged{size: size, seals: seals, head: func(a arena) { *a.word(offDataOffset) = controlSize + 4 }}, ErrFormat},
		{"records beyond", forged{size: size, seals: seals, head: func(a arena) { *a.word(offDataOffset) = 1 << 31 }}, ErrFormat},
	} {
		t.Run(v.name, func(t *testing.T) {
			if v.f.kind == 0 {
				v.f.kind = SPSC
			}
			fd := forge(t, v.f)
			maps := len(ringMappings())
			m, err := Attach(fd, SPSC)
			wants(t, "Attach", err, v.want)
			if m != nil {
				t.Error("Attach returned memory with an error")
			}
			if isOpen(fd) {
				t.Error("the descriptor is still open")
			}
			if now := len(ringMappings()); now != maps {
				t.Errorf("%d mappings of rings, %d before", now, maps)
			}
		})
	}
	// The honest one must be accepted, or the table above proves nothing.
	m, err := Attach(forge(t, forged{kind: SPSC, size: size, seals: seals}), SPSC)
	if err != nil {
		t.Fatal("an honest ring: ", err)
	}
	closed(t, m.Close())
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

func TestAttachRefusesOtherDescriptors(t *testing.T) {
	file := func(flags int) int {
		fd, err := unix.Open(filepath.Join(t.TempDir(), "file"), unix.O_CREAT|unix.O_CLOEXEC|flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[1])
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := unix.Open("/", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, fd := range map[string]int{
		"a regular file": file(unix.O_RDWR), "a file for reading": file(unix.O_RDONLY), "a pipe": pipe[0],
		"an eventfd": bell, "a socket": socket, "a directory": dir, "none": -1, "a closed one": 1 << 20,
	} {
		_, err := Attach(fd, SPSC)
		wants(t, name, err, ErrSeals)
		if isOpen(fd) {
			t.Errorf("%s is still open", name)
		}
	}
}

func TestAttachOfAReadOnlyDescriptor(t *testing.T) {
	skipEmulated(t, "opens /proc/self/fd")
	m := newMemory(t, Options{Size: MinSize})
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", m.FD()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Attach(fd, SPSC)
	wants(t, "Attach", err, ErrMemory)
	if isOpen(fd) {
		t.Error("the descriptor is still open")
	}
}

func TestClose(t *testing.T) {
	m, err := Create(Options{Size: MinSize})
	if err != nil {
		t.Fatal(err)
	}
	fd := m.FD()
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v: a started program would inherit the ring", flags, err)
	}
	closed(t, m.CloseFD())
	if m.FD() != -1 || isOpen(fd) {
		t.Errorf("after CloseFD: FD %d, open %v", m.FD(), isOpen(fd))
	}
	*m.data.word(0) = 1 // the mapping stays
	for range 3 {
		closed(t, m.CloseFD())
		closed(t, m.Close())
	}
}

func TestKindsHaveNames(t *testing.T) {
	for k, want := range map[Kind]string{SPSC: "spsc", MPSC: "mpsc", Broadcast: "broadcast", 9: "kind 9"} {
		if k.String() != want {
			t.Errorf("Kind(%d) = %q, want %q", uint32(k), k, want)
		}
	}
}
