package afxdp_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
)

// Datagrams of several frames, with AF_XDP and with the kernel's own UDP at the
// other end; what both carry is checked byte by byte.
func TestDatagramsBeyondAFrame(t *testing.T) {
	if afxdp.LacksSpans() {
		t.Skip("packets beyond a page are of Linux 6.6")
	}
	for _, c := range []struct {
		name string
		v6   bool
		mode ebpf.Mode
		peer dialer
		sums bool // by the device
	}{
		{"driver, IPv4", false, ebpf.ModeDriver, afxdp.Dial, false},
		{"generic, IPv6, checksums asked of the device", true, ebpf.ModeGeneric, afxdp.Dial, true},
		{"driver, IPv6, with UDP", true, ebpf.ModeDriver, afxdp.DialUDP, false},
		{"generic, IPv4, with UDP, checksums asked of the device", false, ebpf.ModeGeneric, afxdp.DialUDP, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := lab(t, netlab.Options{MTU: 9000})
			o := faultOptions
			o.Datagram, o.XDP.Peers, o.XDP.OffloadChecksum = 8900, 1, c.sums
			a, b := between(t, l, c.v6, 0, afxdp.Dial, c.peer, required(o, c.mode), required(o, c.mode))
			defer b.Close()
			defer a.Close()
			if n := a.Info().MaxPayload; n < 8800 {
				t.Fatalf("MaxPayload is %d", n)
			}
			for _, size := range []int{4, 3700, 3900, 8000, a.Info().MaxPayload} {
				pass(t, a, b, 100, size, nil)
				pass(t, b, a, 100, size, nil)
			}
			r, ok, err := a.XDP()
			if !ok || err != nil || r.Offloads || r.Joined < 200 || r.Sent < 500 || r.Damaged > 0 || r.Arrived > 100 || r.Sockets.Dropped > 0 {
				t.Errorf("%t, %v, %+v", ok, err, r)
			}
			if said := slices.ContainsFunc(a.Info().Why, func(s string) bool { return strings.Contains(s, "up to 3 frames") }); !said {
				t.Errorf("it does not say so: %q", a.Info().Why)
			}
		})
	}
}

// Programs for packets in one buffer are refused by drivers where the MTU goes
// beyond a page; ours is not, also with datagrams of one frame.
func TestTheDriversModeOfAJumboInterface(t *testing.T) {
	if afxdp.LacksSpans() {
		t.Skip("packets beyond a page are of Linux 6.6")
	}
	l := lab(t, netlab.Options{MTU: 9000})
	a, b := faulty(t, l, afxdp.Dial, ebpf.ModeDriver)
	pass(t, a, b, 100, a.Info().MaxPayload, nil)
	if r, _, err := a.XDP(); err != nil || r.Generic || r.Joined > 0 {
		t.Errorf("%v, %+v", err, r)
	}
}

// The same checksums on the wire that the link makes itself would be found wrong
// by the kernel at the other end if nobody finished them.
func TestChecksumsLeftToTheDevice(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 %t", v6), func(t *testing.T) {
			l := lab(t, netlab.Options{})
			o := faultOptions
			o.XDP.OffloadChecksum, o.XDP.Peers = true, 1
			a, b := between(t, l, v6, 0, afxdp.Dial, afxdp.DialUDP, required(o, ebpf.ModeGeneric), &o)
			defer b.Close()
			defer a.Close()
			for _, size := range []int{4, 101, 1000} {
				pass(t, a, b, 100, size, nil)
				pass(t, b, a, 100, size, nil)
			}
			r, _, err := a.XDP()
			if err != nil || r.Sent < 300 || r.Sockets.InvalidTx > 0 || a.DatagramStats().Timeouts > 50 {
				t.Errorf("%v, %+v, %+v", err, r, a.DatagramStats())
			}
			said := func(what string) bool {
				return slices.ContainsFunc(a.Info().Why, func(s string) bool { return strings.Contains(s, what) })
			}
			if r.Offloads != said("left to the device") || r.Offloads == said("made here, although") {
				t.Errorf("%+v; %q", r, a.Info().Why)
			}
		})
	}
}

// The whole suite with datagrams of several frames.
func TestSpanConformance(t *testing.T) {
	if os.Getenv("CELL_SOAK") == "" {
		t.Skip("TestDatagramsBeyondAFrame does what is particular; --soak runs this, too")
	}
	const addresses = 32
	l, next := lab(t, netlab.Options{Addresses: addresses, MTU: 9000}), 0
	o := faultOptions
	o.Datagram, o.Window, o.XDP.Peers = 8900, 16, addresses
	linktest.Run(t, linktest.Harness{
		Open: func(t testing.TB) (link.Link, link.Link) {
			next++
			return between(t, l, false, next%addresses, afxdp.Dial, afxdp.Dial, required(o, ebpf.ModeDriver), required(o, ebpf.ModeDriver))
		},
		Kill: kill, Garbage: garbage, CanPark: true, MaxTotal: 1 << 20,
	})
}
