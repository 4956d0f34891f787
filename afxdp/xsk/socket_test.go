package xsk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/afxdp/xsk"
	"github.com/cell-runtime/cell/ebpf"
)

const testPort = 47123

func lab(t *testing.T, o netlab.Options) *netlab.Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces and AF_XDP sockets")
	}
	l, err := netlab.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

const frameSize = 2048

var (
	umem   = xsk.UmemOptions{Frames: 64, FrameSize: frameSize}
	config = xsk.Config{Rx: 32, Tx: 32, Fill: 32, Completion: 32, NeedWakeup: true}
)

// openOn opens sockets on queues of a host's interface, closed in the end.
func openOn(t *testing.T, h *netlab.Host, u xsk.UmemOptions, c xsk.Config, queues ...uint32) *xsk.QueueSet {
	t.Helper()
	c.Interface = h.Index
	var q *xsk.QueueSet
	if err := h.Do(func() (err error) { q, err = xsk.OpenQueues(u, c, queues); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

// redirect sends what comes to a host's testPort to q.
func redirect(t *testing.T, h *netlab.Host, mode ebpf.Mode, q *xsk.QueueSet) *ebpf.Redirect {
	t.Helper()
	var r *ebpf.Redirect
	err := h.Do(func() (err error) {
		if r, err = ebpf.LoadRedirect(testPort); err != nil {
			return err
		}
		for _, s := range q.Sockets {
			if err := r.SetSocket(s.Queue(), s.FD()); err != nil {
				return err
			}
		}
		return r.Attach(h.Index, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// packet is an Ethernet frame with UDP over IPv4 to testPort.
func packet(n int, fill byte) []byte {
	b := bytes.Repeat([]byte{fill}, 42+n)
	copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 0})
	copy(b[14:], []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2})
	binary.BigEndian.PutUint16(b[16:], uint16(28+n))
	copy(b[34:], []byte{0, 1, 0, 0, 0, 0, 0, 0})
	binary.BigEndian.PutUint16(b[36:], testPort)
	binary.BigEndian.PutUint16(b[38:], uint16(8+n))
	return b
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func TestPacketsFromUmemToUmem(t *testing.T) {
	for _, mode := range []ebpf.Mode{ebpf.ModeDriver, ebpf.ModeGeneric} {
		t.Run(mode.String(), func(t *testing.T) {
			l := lab(t, netlab.Options{})
			a, b := openOn(t, l.A, umem, config, 0), openOn(t, l.B, umem, config, 0)
			redirect(t, l.B, mode, b)
			from, to := a.Sockets[0], b.Sockets[0]
			if zero, why := to.ZeroCopy(); zero || !errors.Is(why, xsk.ErrNotSupported) {
				t.Errorf("veth and zero-copy: %t, %v", zero, why)
			}
			frames := make([]uint64, 32)
			for i := range frames {
				frames[i] = uint64(i) * frameSize
			}
			if n := to.Fill.Put(frames); n != 32 {
				t.Fatalf("the fill ring took %d", n)
			}
			// More than one WakeTx sends at once, and several times around.
			for round := range 8 {
				ds := make([]xsk.Desc, 32)
				for i := range ds {
					ds[i] = xsk.Desc{Address: uint64(i)*frameSize + 64, Length: uint32(42 + i)}
					copy(a.Umem.Packet(ds[i]), packet(i, byte(round)))
				}
				if n := from.Tx.Put(ds); n != 32 {
					t.Fatalf("the tx ring took %d", n)
				}
				eventually(t, "sending", func() bool {
					sent, err := from.WakeTx()
					if err != nil {
						t.Fatal(err)
					}
					return sent
				})
				done := 0
				back := make([]uint64, 32)
				eventually(t, "completion", func() bool {
					done += from.Completion.Take(back[done:])
					return done == 32
				})
				got := 0
				eventually(t, "arrival", func() bool {
					n := to.Rx.Take(ds)
					for _, d := range ds[:n] {
						if p := b.Umem.Packet(d); !bytes.Equal(p, packet(got, byte(round))) {
							t.Fatalf("packet %d: %x", got, p)
						}
						if to.Fill.Put([]uint64{d.Address &^ (frameSize - 1)}) != 1 {
							t.Fatal("no room for a frame in the fill ring")
						}
						got++
					}
					return got == 32
				})
			}
			if s, err := b.Stats(); err != nil || s != (xsk.Stats{TxRingsEmpty: s.TxRingsEmpty}) {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// What the process never gives back is missing, and the kernel says so.
func TestFramesRunOut(t *testing.T) {
	l := lab(t, netlab.Options{})
	a, b := openOn(t, l.A, umem, config, 0), openOn(t, l.B, umem, config, 0)
	redirect(t, l.B, ebpf.ModeDriver, b)
	b.Sockets[0].Fill.Put([]uint64{0, frameSize})
	ds := make([]xsk.Desc, 5)
	for i := range ds {
		ds[i] = xsk.Desc{Address: uint64(i) * frameSize, Length: 60}
		copy(a.Umem.Packet(ds[i]), packet(18, 0))
	}
	a.Sockets[0].Tx.Put(ds)
	if _, err := a.Sockets[0].WakeTx(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "drops", func() bool {
		s, err := b.Stats()
		return err == nil && s.FillEmpty > 0
	})
	if n := b.Sockets[0].Rx.Take(ds); n != 2 {
		t.Errorf("%d packets in 2 frames", n)
	}
}

func TestDescriptorsThatAreNone(t *testing.T) {
	l := lab(t, netlab.Options{})
	a := openOn(t, l.A, umem, config, 0)
	for _, d := range []xsk.Desc{{Address: 64 * frameSize, Length: 60}, {Address: frameSize - 1, Length: 60}, {Address: 1 << 60, Length: 1}, {Length: frameSize + 1}} {
		if p := a.Umem.Packet(d); p != nil {
			t.Errorf("%+v is a packet of %d bytes", d, len(p))
		}
	}
	if a.Umem.Frame(64*frameSize) != nil || len(a.Umem.Frame(63*frameSize+5)) != frameSize {
		t.Error("Frame says otherwise")
	}
	a.Sockets[0].Tx.Put([]xsk.Desc{{Address: 64 * frameSize, Length: 60}})
	_, _ = a.Sockets[0].WakeTx()
	if s, err := a.Stats(); err != nil || s.InvalidTx != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSeveralQueuesOverOneUmem(t *testing.T) {
	l := lab(t, netlab.Options{Queues: 3})
	q := openOn(t, l.A, umem, config, 0, 1, 2)
	if len(q.Sockets) != 3 {
		t.Fatalf("%d sockets", len(q.Sockets))
	}
	for i, s := range q.Sockets {
		if s.Queue() != uint32(i) {
			t.Errorf("socket %d is on queue %d", i, s.Queue())
		}
		if n := s.Fill.Put([]uint64{uint64(i) * frameSize}); n != 1 {
			t.Errorf("queue %d has a fill ring that takes %d", i, n)
		}
	}
	redirect(t, l.A, ebpf.ModeDriver, q)
}

func TestOpenRefuses(t *testing.T) {
	l := lab(t, netlab.Options{Queues: 2})
	holder := openOn(t, l.A, umem, config, 0)
	with := func(f func(c *xsk.Config)) xsk.Config {
		c := config
		c.Interface, c.Patience = l.A.Index, -1
		f(&c)
		return c
	}
	for _, c := range []struct {
		name string
		c    xsk.Config
		want error
	}{
		{"a queue that is taken", with(func(*xsk.Config) {}), xsk.ErrBusy},
		{"a queue that there isn't", with(func(c *xsk.Config) { c.Queue = 9 }), xsk.ErrNotSupported},
		{"zero-copy on veth", with(func(c *xsk.Config) { c.Queue, c.Copying = 1, xsk.CopyNever }), xsk.ErrNotSupported},
		{"an interface that there isn't", with(func(c *xsk.Config) { c.Interface = 9999 }), xsk.ErrDown},
		{"a ring of 33 entries", with(func(c *xsk.Config) { c.Rx = 33 }), nil},
		{"no fill ring", with(func(c *xsk.Config) { c.Fill = 0 }), nil},
		{"neither rx nor tx", with(func(c *xsk.Config) { c.Rx, c.Tx = 0, 0 }), nil},
	} {
		err := l.A.Do(func() error {
			q, err := xsk.OpenQueues(umem, c.c, []uint32{c.c.Queue})
			if err == nil {
				return errors.Join(errors.New("accepted"), q.Close())
			}
			if c.want != nil && !errors.Is(err, c.want) {
				return fmt.Errorf("%w, want %w", err, c.want)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	openOn(t, l.A, umem, config, 0) // waits till the kernel has let go
}

func TestUmemRefuses(t *testing.T) {
	for _, o := range []xsk.UmemOptions{
		{Frames: 1, FrameSize: 1000}, {Frames: 0, FrameSize: 2048}, {Frames: 1 << 30, FrameSize: 2048},
		{Frames: 1, FrameSize: 2048, Headroom: 2000}, {Frames: 1, FrameSize: 2048, Headroom: -1}, {Frames: 1, FrameSize: 2048, Metadata: 3},
	} {
		if u, err := xsk.NewUmem(o); err == nil {
			t.Errorf("%+v is accepted", o)
			_ = u.Close()
		}
	}
}

func TestHugePagesOrWhyNot(t *testing.T) {
	u, err := xsk.NewUmem(xsk.UmemOptions{Frames: 8, FrameSize: 2048, HugePages: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("huge pages: %q", u.HugeWhy)
	u.Frame(7 * 2048)[2047] = 1
	if err := u.Close(); err != nil {
		t.Error(err)
	}
}

func TestInterfaceDown(t *testing.T) {
	l := lab(t, netlab.Options{})
	a := openOn(t, l.A, umem, config, 0)
	veth, err := l.A.Net.LinkByIndex(l.A.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.A.Net.LinkSetDown(veth); err != nil {
		t.Fatal(err)
	}
	s := a.Sockets[0]
	s.Tx.Put([]xsk.Desc{{Length: 60}})
	if _, err := s.WakeTx(); !errors.Is(err, xsk.ErrDown) {
		t.Errorf("%v, want ErrDown", err)
	}
	if err := l.A.Net.LinkSetUp(veth); err != nil {
		t.Fatal(err)
	}
	eventually(t, "sending after it came up again", func() bool {
		sent, err := s.WakeTx()
		return err == nil && sent
	})
}

func TestBusyPoll(t *testing.T) {
	l := lab(t, netlab.Options{})
	a := openOn(t, l.A, umem, config, 0)
	if err := a.Sockets[0].BusyPoll(20*time.Microsecond, 0); err != nil {
		t.Fatal(err)
	}
	us, err := unix.GetsockoptInt(a.Sockets[0].FD(), unix.SOL_SOCKET, unix.SO_BUSY_POLL)
	if err != nil || us != 20 {
		t.Errorf("SO_BUSY_POLL is %d, %v", us, err)
	}
	if err := a.Sockets[0].WakeRx(); err != nil {
		t.Error(err)
	}
}

// The kernel stands in for a NIC that calculates checksums.
func TestChecksumByMetadata(t *testing.T) {
	l := lab(t, netlab.Options{})
	u := umem
	u.Metadata, u.SoftwareChecksum = xsk.MetadataSize, true
	c := config
	c.Interface = l.A.Index
	var q *xsk.QueueSet
	err := l.A.Do(func() (err error) { q, err = xsk.OpenQueues(u, c, []uint32{0}); return err })
	if errors.Is(err, xsk.ErrNotSupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	b := openOn(t, l.B, umem, config, 0)
	redirect(t, l.B, ebpf.ModeDriver, b)
	b.Sockets[0].Fill.Put([]uint64{0})
	d := xsk.Desc{Address: 128, Length: 60, Options: xsk.OptionMetadata}
	p := q.Umem.Packet(d)
	copy(p, packet(18, 7))
	copy(p[40:], []byte{0x12, 0x34}) // stands for the pseudo-header's sum
	m := xsk.Metadata(q.Umem.Frame(0)[128-xsk.MetadataSize:])
	m.Clear()
	m.AskChecksum(34, 6)
	q.Sockets[0].Tx.Put([]xsk.Desc{d})
	if _, err := q.Sockets[0].WakeTx(); err != nil {
		t.Fatal(err)
	}
	var ds [1]xsk.Desc
	eventually(t, "arrival", func() bool { return b.Sockets[0].Rx.Take(ds[:]) == 1 })
	got := b.Umem.Packet(ds[0])
	sum := uint32(0)
	for i := 34; i < 60; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(got[i:]))
	}
	// Summing all of it and the checksum gives the pseudo-header's sum again,
	// which has been left out: 0xffff minus it in the end.
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum != 0xffff-0x1234 {
		t.Errorf("%#x; checksum %x", sum, got[40:42])
	}
}
