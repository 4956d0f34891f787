package afxdp_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// When a vesicle's datagram has arrived lies between its sending and its being
// polled, and is known of what came past the kernel alone.
func TestTimesOfArrival(t *testing.T) {
	for _, c := range []struct {
		name     string
		mode     ebpf.Mode
		datagram int // beyond a frame of memory
		timed    bool
	}{
		{"generic mode", ebpf.ModeGeneric, 0, true},
		{"driver's mode", ebpf.ModeDriver, 0, true},
		{"in several frames", ebpf.ModeGeneric, 8900, true},
		{"not asked for", ebpf.ModeGeneric, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.datagram > 0 && afxdp.LacksSpans() {
				t.Skip("packets beyond a page are of Linux 6.6")
			}
			mtu := 1500
			if c.datagram > 0 {
				mtu = 9000
			}
			l := lab(t, netlab.Options{MTU: mtu})
			o := faultOptions
			o.Datagram, o.XDP.Peers, o.XDP.Timed = c.datagram, 1, c.timed
			a, b := between(t, l, false, 0, afxdp.Dial, afxdp.Dial, required(o, c.mode), required(o, c.mode))
			defer b.Close()
			defer a.Close()
			if at, known := a.Arrived(); known {
				t.Errorf("before anything has come: %d", at)
			}
			for range 20 {
				var out, in [1]wire.Vesicle
				n, err := b.Claim(out[:], b.Info().MaxPayload)
				if n != 1 || err != nil {
					t.Fatal(n, err)
				}
				out[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 1}
				must(t, b.Commit(out[:]))
				before, arrived := sched.Now(), arrivals(t, a)
				must(t, b.Flush())
				for end := time.Now().Add(deadline); ; {
					n, err := a.Poll(in[:])
					must(t, err)
					if n == 1 {
						break
					}
					if time.Now().After(end) {
						t.Fatal("nothing has come")
					}
				}
				at, known := a.Arrived()
				detoured := arrivals(t, a) > arrived
				if known && !c.timed || !known && c.timed && !detoured || known && (at < before || at > sched.Now()) {
					t.Errorf("arrived at %d (%t), sent after %d; by the kernel's way: %t", at, known, before, detoured)
				}
				must(t, a.Release(1))
			}
		})
	}
}

// arrivals is how many datagrams have come by the kernel's way.
func arrivals(t *testing.T, c *afxdp.Conn) uint64 {
	t.Helper()
	r, _, err := c.XDP()
	must(t, err)
	return r.Arrived
}

// What carries bulk is chosen where it is asked for, and said.
func TestBulkGoesByOrdinarySockets(t *testing.T) {
	l := lab(t, netlab.Options{Addresses: 2})
	bulk := faultOptions
	bulk.Bulk = true
	a, b := between(t, l, true, 0, afxdp.Dial, afxdp.Dial, &bulk, &bulk)
	if i := a.Info(); i.Kind != "udp" || !strings.Contains(strings.Join(i.Why, " "), "Options.Bulk") {
		t.Errorf("%+v", i)
	}
	pass(t, a, b, 200, 1000, nil)
	must(t, a.Close())
	must(t, b.Close())
	insisting := bulk
	insisting.XDP.Peers = 2
	a, b = between(t, l, true, 0, afxdp.Dial, afxdp.Dial, required(insisting, ebpf.ModeGeneric), required(insisting, ebpf.ModeGeneric))
	defer b.Close()
	defer a.Close()
	if i := a.Info(); i.Kind != "afxdp" {
		t.Errorf("Required: %+v", i)
	}
	// The program takes the port's packets by now, so that a socket would hear none.
	c, d := between(t, l, true, 1, afxdp.Dial, afxdp.Dial, &bulk, &bulk)
	defer d.Close()
	defer c.Close()
	if i := c.Info(); i.Kind != "afxdp" {
		t.Errorf("beside one past the kernel: %+v", i)
	}
	pass(t, c, d, 200, 1000, nil)
}

// A broker's program has no times, and the link says so.
func TestNoTimesByABroker(t *testing.T) {
	l := lab(t, netlab.Options{})
	o := brokeredOptions(filepath.Join(t.TempDir(), "broker"))
	o.XDP.Timed = true
	withBroker(t, l, o, false)
	a, b := between(t, l, false, 0, afxdp.Dial, afxdp.Dial, required(faultOptions, ebpf.ModeGeneric), o)
	defer b.Close()
	defer a.Close()
	if why := strings.Join(b.Info().Why, " "); !strings.Contains(why, "No times of arrival") {
		t.Errorf("%q", why)
	}
	pass(t, a, b, 20, 100, nil)
	if at, known := b.Arrived(); known {
		t.Errorf("arrived at %d", at)
	}
}
