package afxdp_test

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/afxdp/packet"
	"github.com/cell-runtime/cell/ebpf"
)

// The kernel itself makes the packets, some million a second: more than its
// network stack takes.
func TestAFloodAtLineRate(t *testing.T) {
	l := lab(t, netlab.Options{})
	a, b := faulty(t, l, afxdp.Dial, ebpf.ModeDriver)
	var to *net.UDPConn
	must(t, l.B.Do(func() (err error) {
		to, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.B.V4, 9)))
		return err
	}))
	template, err := packet.NewTemplate(&packet.Flow{Local: netip.AddrPortFrom(l.A.V4, 9), Remote: netip.AddrPortFrom(l.B.V4, 9), LocalMAC: l.A.MAC, RemoteMAC: l.B.MAC})
	must(t, err)
	frame := make([]byte, template.Size()+64)
	template.Put(frame, true)
	g, err := netlab.NewGenerator(l.A, frame, netlab.Vary{})
	must(t, err)
	defer g.Close()
	var wg sync.WaitGroup
	var got, sent atomic.Int64
	var stop atomic.Bool
	end := sync.OnceFunc(func() { // also when the test fails halfway
		stop.Store(true)
		_ = to.Close()
		wg.Wait()
	})
	defer end()
	wg.Go(func() {
		for !stop.Load() {
			if err := l.A.Do(func() error { return g.Send(1 << 14) }); err != nil {
				t.Error(err)
				return
			}
			sent.Add(1 << 14)
		}
	})
	wg.Go(func() {
		for b := make([]byte, 128); ; got.Add(1) {
			if _, err := to.Read(b); err != nil {
				return
			}
		}
	})
	begin := time.Now()
	for n := 0; n < 5 || sent.Load() < 1<<18; n++ {
		pass(t, a, b, 100, 200, nil)
	}
	eventually(t, "foreign packets at the kernel's socket", func() bool { return got.Load() > 1000 })
	spent := time.Since(begin)
	end()
	t.Logf("%d foreign packets within %v, of which %d reached a socket", sent.Load(), spent, got.Load())
	if r := report(t, b); r.Program.Other < uint64(got.Load()) || r.Damaged != 0 || r.Strays != 0 {
		t.Errorf("%d foreign packets came, and the program says %+v; %d strays", got.Load(), r.Program, r.Strays)
	}
}

// Queues that come have no socket, and what they bring takes the kernel's way;
// queues that have one can't be taken away.
func TestTheNumberOfQueuesChanges(t *testing.T) {
	l := lab(t, netlab.Options{Queues: 4})
	queues := func(n int) {
		t.Helper()
		must(t, errors.Join(l.A.SetQueues(n), l.B.SetQueues(n)))
	}
	queues(1)
	t.Run("more than there were", func(t *testing.T) {
		a, b := faulty(t, l, afxdp.DialUDP, ebpf.ModeGeneric)
		pass(t, b, a, 100, 200, func() { queues(4) })
		pass(t, a, b, 100, 200, nil)
		pass(t, b, a, 100, 200, func() { queues(2) })
		pass(t, b, a, 100, 200, nil)
		if r := report(t, a); r.Queues != 1 || r.Received+r.Arrived == 0 {
			t.Errorf("%+v", r)
		}
	})
	queues(4)
	t.Run("fewer than there were", func(t *testing.T) {
		a, b := faulty(t, l, afxdp.Dial, ebpf.ModeGeneric)
		pass(t, a, b, 100, 200, func() {
			if err := l.B.SetQueues(2); err == nil {
				t.Error("the kernel took queues away that have sockets")
			}
		})
		pass(t, b, a, 100, 200, nil)
		if r := report(t, b); r.Queues != 4 {
			t.Errorf("%+v", r)
		}
	})
}
