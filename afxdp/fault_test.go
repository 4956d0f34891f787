package afxdp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cilium "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// deadline bounds what must happen in the end, on however busy a host.
const deadline = time.Minute

var faultOptions = afxdp.Options{Reliable: true, Window: 64, KeepAlive: 200 * time.Millisecond, Patience: 100}

// passing sends n numbered vesicles of a size from a to b and checks that all
// arrive in order; between is called once half of them are sent.
func passing(a, b *afxdp.Conn, n, size int, between func()) error {
	end := time.Now().Add(deadline)
	var out [1]wire.Vesicle
	in := make([]wire.Vesicle, 16)
	sent, got := 0, 0
	for got < n {
		if time.Now().After(end) {
			r, _, _ := a.XDP()
			return fmt.Errorf("%d sent and %d arrived of %d; %+v; %+v", sent, got, n, a.DatagramStats(), r)
		}
		if sent < n {
			if sent == n/2 && between != nil {
				between()
				between = nil
			}
			k, err := a.Claim(out[:], size)
			if err != nil && !errors.Is(err, link.ErrFull) {
				return err
			}
			if k == 1 {
				binary.LittleEndian.PutUint32(out[0].Payload, uint32(sent))
				out[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 1}
				if err := a.Commit(out[:]); err != nil {
					return err
				}
				sent++
			}
		}
		if err := a.Flush(); err != nil && !errors.Is(err, link.ErrFull) {
			return err
		}
		k, err := b.Poll(in)
		if err != nil {
			return err
		}
		for _, v := range in[:k] {
			if i := binary.LittleEndian.Uint32(v.Payload); int(i) != got || len(v.Payload) != size {
				return fmt.Errorf("vesicle %d of %d bytes came where %d was next", i, len(v.Payload), got)
			}
			got++
		}
		if err := b.Release(k); err != nil {
			return err
		}
	}
	return nil
}

func pass(t *testing.T, a, b *afxdp.Conn, n, size int, between func()) {
	t.Helper()
	must(t, passing(a, b, n, size, between))
}

// faulty connects two hosts with room for faults.
func faulty(t *testing.T, l *netlab.Lab, peer dialer, mode ebpf.Mode) (a, b *afxdp.Conn) {
	t.Helper()
	a, b = between(t, l, false, 0, afxdp.Dial, peer, required(faultOptions, mode), required(faultOptions, mode))
	t.Cleanup(func() {
		for _, c := range []*afxdp.Conn{a, b} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return a, b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func device(t *testing.T, h *netlab.Host) netlink.Link {
	t.Helper()
	l, err := h.Net.LinkByIndex(h.Index)
	must(t, err)
	return l
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, deadline)
		}
	}
}

func report(t *testing.T, c *afxdp.Conn) afxdp.XDPReport {
	t.Helper()
	r, ok, err := c.XDP()
	if err != nil || !ok {
		t.Fatalf("no report: %t, %v", ok, err)
	}
	return r
}

func TestTheInterfaceGoesDownAndUp(t *testing.T) {
	for _, mode := range []ebpf.Mode{ebpf.ModeDriver, ebpf.ModeGeneric} {
		l := lab(t, netlab.Options{})
		a, b := faulty(t, l, afxdp.Dial, mode)
		pass(t, a, b, 100, 200, nil)
		pass(t, a, b, 100, 200, func() {
			must(t, l.A.Net.LinkSetDown(device(t, l.A)))
			_ = a.Flush()
			must(t, l.A.Net.LinkSetUp(device(t, l.A)))
		})
		pass(t, a, b, 100, 200, nil)
		pass(t, b, a, 100, 200, nil)
		if r := report(t, a); r.Sent == 0 {
			t.Errorf("nothing went past the kernel: %+v", r)
		}
	}
}

// The peer has plain UDP, so that its kernel looks at the address.
func TestThePeersMACAddressChanges(t *testing.T) {
	l := lab(t, netlab.Options{})
	a, b := faulty(t, l, afxdp.DialUDP, ebpf.ModeDriver)
	pass(t, a, b, 100, 200, nil)
	want := [6]byte{2, 0, 0, 0, 0, 99}
	pass(t, a, b, 100, 200, func() {
		must(t, l.B.Net.LinkSetHardwareAddr(device(t, l.B), want[:]))
	})
	pass(t, b, a, 100, 200, nil)
	eventually(t, "the new address", func() bool { return report(t, a).Path.RemoteMAC == want })
	before := report(t, a)
	pass(t, a, b, 100, 200, nil)
	if after := report(t, a); after.Sent == before.Sent || after.Detoured > before.Detoured {
		t.Errorf("datagrams do not go past the kernel again: %+v", after)
	}
}

func TestTheMTUIsLowered(t *testing.T) {
	l := lab(t, netlab.Options{})
	a, b := faulty(t, l, afxdp.Dial, ebpf.ModeDriver)
	size := a.Info().MaxPayload
	pass(t, a, b, 50, size, nil)
	pass(t, a, b, 50, size, func() {
		must(t, l.A.Net.LinkSetMTU(device(t, l.A), 1300))
		must(t, l.B.Net.LinkSetMTU(device(t, l.B), 1300))
	})
	pass(t, a, b, 50, 100, nil)
	if r := report(t, a); r.Detoured == 0 {
		t.Errorf("datagrams that are too long went nowhere else: %+v", r)
	}
	if r := report(t, b); r.Arrived == 0 {
		t.Errorf("what the kernel put together did not arrive by it: %+v", r)
	}
}

func TestSomebodyDetachesTheProgram(t *testing.T) {
	l := lab(t, netlab.Options{})
	a, b := faulty(t, l, afxdp.Dial, ebpf.ModeGeneric)
	pass(t, a, b, 100, 200, nil)
	must(t, l.B.Do(func() error { return detach(l.B.Index) }))
	pass(t, a, b, 100, 200, nil)
	pass(t, b, a, 100, 200, nil)
	eventually(t, "the report says so", func() bool { return report(t, b).Detached })
	if r := report(t, b); r.Arrived == 0 {
		t.Errorf("nothing came by the kernel's way: %+v", r)
	}
}

// detach does what bpftool link detach does, to the link of the program on an
// interface of the calling thread's namespace.
func detach(ifindex int) error {
	there, err := ebpf.Attached(ifindex)
	if err != nil || len(there) != 1 {
		return errors.Join(errors.New("there is not one program"), err)
	}
	var it cilium.Iterator
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err == nil && uint32(info.Program) == there[0].ID {
			return it.Link.Detach()
		}
	}
	return errors.Join(errors.New("there is no link of the program"), it.Err())
}

const envHold = "CELL_AFXDP_TEST_HOLD"

// TestHold is no test: it is the process that TestKilledProcess kills.
func TestHold(t *testing.T) {
	if os.Getenv(envHold) == "" {
		t.Skip("the child of TestAKilledProcessLeavesNothing")
	}
	x, y := netip.MustParseAddrPort("10.77.0.1:47101"), netip.MustParseAddrPort("10.77.0.2:47102")
	c, err := afxdp.Dial(t.Context(), y, x, required(faultOptions, ebpf.ModeAuto))
	if err != nil {
		t.Fatal(err)
	}
	in := make([]wire.Vesicle, 16)
	for end := time.Now().Add(2 * deadline); time.Now().Before(end); {
		n, err := c.Poll(in)
		if err != nil {
			t.Fatal(err)
		}
		must(t, c.Release(n))
		time.Sleep(time.Millisecond)
	}
	t.Fatal("nobody killed this process")
}

func TestAKilledProcessLeavesNothing(t *testing.T) {
	l := lab(t, netlab.Options{})
	child := exec.Command(os.Args[0], "-test.run=^TestHold$")
	child.Env = append(os.Environ(), envHold+"=1")
	child.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	must(t, l.B.Do(child.Start))
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	var a *afxdp.Conn
	must(t, l.A.Do(func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		a, err = afxdp.Dial(ctx, netip.MustParseAddrPort("10.77.0.1:47101"), netip.MustParseAddrPort("10.77.0.2:47102"), required(faultOptions, ebpf.ModeAuto))
		return err
	}))
	defer a.Close()
	attached := func() (n int) {
		must(t, l.B.Do(func() error {
			all, err := ebpf.Attached(l.B.Index)
			n = len(all)
			return err
		}))
		return n
	}
	if n := attached(); n != 1 {
		t.Errorf("%d programs while the process lives", n)
	}
	must(t, child.Process.Kill())
	_ = child.Wait() // killed
	eventually(t, "nothing is attached", func() bool { return attached() == 0 })
	var in [1]wire.Vesicle
	eventually(t, "the peer learns of it", func() bool {
		_, err := a.Poll(in[:])
		return errors.Is(err, link.ErrPeerGone)
	})
	must(t, a.Close())
	// And the queue can be had again.
	p, q := between(t, l, false, 0, afxdp.Dial, afxdp.Dial, required(faultOptions, ebpf.ModeAuto), required(faultOptions, ebpf.ModeAuto))
	pass(t, p, q, 10, 100, nil)
	must(t, errors.Join(p.Close(), q.Close()))
}

// A receiver that gives nothing back loses what comes, and nobody else's.
func TestMemoryRunsOut(t *testing.T) {
	l := lab(t, netlab.Options{Addresses: 2})
	o := faultOptions
	o.Reliable = false
	a, b := between(t, l, false, 0, afxdp.Dial, afxdp.Dial, required(o, ebpf.ModeGeneric), required(o, ebpf.ModeGeneric))
	defer func() { must(t, errors.Join(a.Close(), b.Close())) }()
	p, q := between(t, l, false, 1, afxdp.Dial, afxdp.Dial, required(faultOptions, ebpf.ModeGeneric), required(faultOptions, ebpf.ModeGeneric))
	defer func() { must(t, errors.Join(p.Close(), q.Close())) }()
	flood := func(n int) {
		var out [1]wire.Vesicle
		for range n {
			if _, err := a.Claim(out[:], 1000); err != nil && !errors.Is(err, link.ErrFull) {
				t.Fatal(err)
			} else if err == nil {
				out[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 1}
				must(t, a.Commit(out[:]))
			}
			if err := a.Flush(); err != nil && !errors.Is(err, link.ErrFull) {
				t.Fatal(err)
			}
		}
	}
	in := make([]wire.Vesicle, 64)
	held := 0
	for range 40 {
		flood(50)
		n, err := b.Poll(in)
		must(t, err)
		held += n
	}
	if held == 0 || held > 64 {
		t.Errorf("%d vesicles are held in a window of 64", held)
	}
	pass(t, p, q, 200, 1000, nil) // the other connection lives
	must(t, b.Release(held))
	got := 0
	eventually(t, "arrival after the memory was given back", func() bool {
		flood(1)
		n, err := b.Poll(in)
		must(t, err)
		must(t, b.Release(n))
		got += n
		return got > 10
	})
}

// Packets for others reach the kernel, however many, and vesicles keep coming.
func TestAFloodOfForeignPackets(t *testing.T) {
	l := lab(t, netlab.Options{})
	a, b := faulty(t, l, afxdp.Dial, ebpf.ModeGeneric)
	var to, from *net.UDPConn
	must(t, l.B.Do(func() (err error) {
		to, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.B.V4, 9)))
		return err
	}))
	must(t, l.A.Do(func() (err error) {
		from, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.B.V4, 9)))
		return err
	}))
	defer from.Close()
	var wg sync.WaitGroup
	var sent, got atomic.Int64
	var stop atomic.Bool
	end := sync.OnceFunc(func() { // also when the test fails halfway
		stop.Store(true)
		_ = to.Close()
		wg.Wait()
	})
	defer end()
	wg.Go(func() {
		for b := make([]byte, 64); !stop.Load(); sent.Add(1) {
			_, _ = from.Write(b)
		}
	})
	wg.Go(func() {
		for b := make([]byte, 64); ; got.Add(1) {
			if _, err := to.Read(b); err != nil {
				return
			}
		}
	})
	for range 20 {
		pass(t, a, b, 100, 200, nil)
	}
	eventually(t, "foreign packets at the kernel's socket", func() bool { return got.Load() > 1000 })
	end()
	if r := report(t, b); r.Program.Other < uint64(got.Load()) || r.Damaged != 0 || r.Strays != 0 {
		t.Errorf("%d foreign packets came, and the program says %+v; %d strays", got.Load(), r.Program, r.Strays)
	}
}

// A program of somebody else stays, and is the reason for plain UDP.
func TestAnInterfaceThatIsTaken(t *testing.T) {
	l := lab(t, netlab.Options{})
	var other *ebpf.Redirect
	var id uint32
	must(t, l.A.Do(func() (err error) {
		if other, err = ebpf.LoadRedirect(9); err == nil {
			err = other.Attach(l.A.Index, ebpf.ModeGeneric)
		}
		there, e := ebpf.Attached(l.A.Index)
		if len(there) == 1 {
			id = there[0].ID
		}
		return errors.Join(err, e)
	}))
	defer other.Close()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	must(t, l.A.Do(func() error {
		c, err := afxdp.Dial(ctx, netip.AddrPortFrom(l.A.V4, portA), netip.AddrPortFrom(l.B.V4, portB), required(faultOptions, ebpf.ModeAuto))
		var occupied *ebpf.OccupiedError
		if !errors.Is(err, afxdp.ErrNoXDP) || !errors.As(err, &occupied) || occupied.ID != id {
			t.Errorf("%v, %v; want the program %d named", c, err, id)
		}
		return nil
	}))
	o := faultOptions
	a, b := between(t, l, false, 0, afxdp.Dial, afxdp.DialUDP, &o, &o)
	defer func() { must(t, errors.Join(a.Close(), b.Close())) }()
	if i := a.Info(); i.Kind != "udp" || len(i.Why) == 0 || !strings.Contains(strings.Join(i.Why, " "), "program") {
		t.Errorf("%+v", i)
	}
	pass(t, a, b, 10, 100, nil)
	must(t, l.A.Do(func() error {
		if there, err := ebpf.Attached(l.A.Index); err != nil || len(there) != 1 || there[0].ID != id {
			t.Errorf("attached afterwards: %v, %v", there, err)
		}
		return nil
	}))
}

// Two connections, of which either finds the other's datagrams.
func TestConnectionsShareAnInterface(t *testing.T) {
	l := lab(t, netlab.Options{Addresses: 3, Queues: 2})
	var conns [3][2]*afxdp.Conn
	for i := range conns {
		a, b := between(t, l, i == 2, i, afxdp.Dial, afxdp.Dial, required(faultOptions, ebpf.ModeDriver), required(faultOptions, ebpf.ModeDriver))
		defer func() { must(t, errors.Join(a.Close(), b.Close())) }()
		conns[i] = [2]*afxdp.Conn{a, b}
	}
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			if err := passing(c[0], c[1], 500, 300, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, c := range conns {
		if r := report(t, c[1]); r.Received == 0 || r.Queues != 2 {
			t.Errorf("%+v", r)
		}
	}
	other := faultOptions
	must(t, l.A.Do(func() error {
		c, err := afxdp.Dial(t.Context(), netip.AddrPortFrom(l.A.V4, 9), netip.AddrPortFrom(l.B.V4, portB), required(other, ebpf.ModeDriver))
		if !errors.Is(err, afxdp.ErrNoXDP) || !strings.Contains(err.Error(), "share their local port") {
			t.Errorf("another port: %v, %v", c, err)
		}
		return nil
	}))
}

// Who polls seldom and never sleeps finds what came by the kernel's way, too,
// after as many looks as who spins.
func TestTheKernelsWayIsLookedAtByWhoPollsSeldom(t *testing.T) {
	l := lab(t, netlab.Options{})
	o := faultOptions
	o.Reliable, o.KeepAlive = false, 5*time.Second
	a, b := between(t, l, false, 0, afxdp.Dial, afxdp.Dial, required(o, ebpf.ModeGeneric), required(o, ebpf.ModeGeneric))
	defer func() { must(t, errors.Join(a.Close(), b.Close())) }()
	var out, in [1]wire.Vesicle
	// The first may come by either way, in any order.
	eventually(t, "vesicles come by the program", func() bool {
		if n, err := a.Claim(out[:], 100); n == 1 {
			out[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 1}
			must(t, errors.Join(a.Commit(out[:]), a.Flush()))
		} else if !errors.Is(err, link.ErrFull) {
			t.Fatal(err)
		}
		n, err := b.Poll(in[:])
		must(t, errors.Join(err, b.Release(n)))
		return n == 1 && report(t, b).Received > 3
	})
	must(t, l.A.Net.LinkSetMTU(device(t, l.A), 1300)) // b's program leaves fragments to the kernel
	eventually(t, "the narrower way is known", func() bool { return report(t, a).Path.MTU == 1300 })
	for n := 1; n > 0; { // what is still there
		var err error
		n, err = b.Poll(in[:])
		must(t, errors.Join(err, b.Release(n)))
	}
	before := report(t, b).Arrived
	for range 3 {
		if _, err := a.Claim(out[:], a.Info().MaxPayload); err != nil {
			t.Fatal(err)
		}
		out[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 1}
		must(t, errors.Join(a.Commit(out[:]), a.Flush()))
		for looks := 1; ; looks++ {
			n, err := b.Poll(in[:])
			must(t, err)
			if n == 1 {
				must(t, b.Release(1))
				break
			}
			if looks == 1000 {
				t.Fatalf("not found in %d looks; %+v", looks, report(t, b))
			}
			time.Sleep(time.Millisecond)
		}
	}
	if r := report(t, b); r.Arrived != before+3 {
		t.Errorf("%d before; %+v", before, r)
	}
}
