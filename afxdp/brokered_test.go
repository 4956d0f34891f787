package afxdp_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/broker"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

const envBroker = "CELL_AFXDP_TEST_BROKER"

// brokeredOptions fit what a process without capabilities may lock.
func brokeredOptions(path string) *afxdp.Options {
	o := faultOptions
	o.XDP.Required, o.XDP.Broker, o.XDP.Peers = true, path, 1
	return &o
}

// TestBrokered is no test: it is the process without capabilities that
// TestALinkWithoutCapabilities starts. It sends back what comes.
func TestBrokered(t *testing.T) {
	path := os.Getenv(envBroker)
	if path == "" {
		t.Skip("the child of TestALinkWithoutCapabilities")
	}
	if os.Geteuid() != 65534 {
		t.Fatalf("runs as %d", os.Geteuid())
	}
	x, y := netip.MustParseAddrPort("10.77.0.1:47101"), netip.MustParseAddrPort("10.77.0.2:47102")
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	o := brokeredOptions("")
	if c, err := afxdp.Dial(ctx, y, x, o); !errors.Is(err, afxdp.ErrNoXDP) {
		t.Fatalf("without the broker: %v, %v", c, err)
	}
	if c, err := afxdp.Dial(ctx, netip.AddrPortFrom(y.Addr(), 9999), x, brokeredOptions(path)); !errors.Is(err, afxdp.ErrNoXDP) || !strings.Contains(err.Error(), "47102") {
		t.Fatalf("with another port: %v, %v", c, err)
	}
	c, err := afxdp.Dial(ctx, y, x, brokeredOptions(path))
	must(t, err)
	if i := c.Info(); i.Kind != "afxdp" || !strings.Contains(strings.Join(i.Why, " "), path) {
		t.Errorf("%+v", i)
	}
	var in, out [1]wire.Vesicle
	for {
		n, err := c.Poll(in[:])
		if errors.Is(err, link.ErrPeerGone) {
			must(t, c.Close())
			return
		}
		must(t, err)
		if n == 1 {
			_, err := c.Claim(out[:], len(in[0].Payload))
			must(t, err)
			copy(out[0].Payload, in[0].Payload)
			out[0].Header = in[0].Header
			must(t, errors.Join(c.Release(1), c.Commit(out[:]), c.Flush()))
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// A process without any capability gets its sockets from a broker.
func TestALinkWithoutCapabilities(t *testing.T) {
	l := lab(t, netlab.Options{})
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o711)) //nolint:gosec // others shall reach the socket
	must(t, os.Chmod(filepath.Dir(dir), 0o711))
	path := filepath.Join(dir, "broker")
	lis, err := broker.Listen(path, 0o666)
	must(t, err)
	var b *broker.Broker
	must(t, l.B.Do(func() (err error) {
		b, err = broker.New(broker.Options{Interface: l.B.Index, Port: portB, Mode: ebpf.ModeGeneric, Allow: func(unix.Ucred) error { return nil }})
		return err
	}))
	defer b.Close()
	// By this name, for the directory may be closed to others.
	child := exec.Command("/proc/self/exe", "-test.run=^TestBrokered$", "-test.v")
	child.Dir, child.Env = "/", append(os.Environ(), envBroker+"="+path, "TMPDIR=/tmp", "HOME=/")
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: unix.SIGKILL}
	var said strings.Builder
	child.Stdout, child.Stderr = &said, &said
	must(t, l.B.Do(child.Start))
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- l.B.Do(func() error { return b.Run(ctx, lis, func(err error) { t.Log(err) }) }) }()
	defer func() {
		cancel()
		must(t, <-ran)
	}()
	var a *afxdp.Conn
	err = l.A.Do(func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		a, err = afxdp.Dial(ctx, netip.AddrPortFrom(l.A.V4, portA), netip.AddrPortFrom(l.B.V4, portB), required(faultOptions, ebpf.ModeGeneric))
		return err
	})
	if err == nil {
		err = echoed(a, 100)
		_ = a.Close()
	} else {
		_ = child.Process.Kill()
	}
	if e := child.Wait(); err != nil || e != nil {
		t.Errorf("%v, %v\n%s", err, e, said.String())
	}
}

// Datagrams of several frames over a broker's sockets, and what a broker says that
// does not have them.
func TestDatagramsBeyondAFrameByABroker(t *testing.T) {
	if afxdp.LacksSpans() {
		t.Skip("packets beyond a page are of Linux 6.6")
	}
	for _, frags := range []bool{true, false} {
		t.Run(fmt.Sprintf("the broker has them %t", frags), func(t *testing.T) {
			l := lab(t, netlab.Options{MTU: 9000})
			o := brokeredOptions(filepath.Join(t.TempDir(), "broker"))
			withBroker(t, l, o, frags)
			o.Datagram = 8900
			if !frags {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				err := l.B.Do(func() error {
					c, err := afxdp.Dial(ctx, netip.AddrPortFrom(l.B.V4, portB), netip.AddrPortFrom(l.A.V4, portA), o)
					if err == nil {
						err = c.Close()
					}
					return err
				})
				if !errors.Is(err, afxdp.ErrNoXDP) || !strings.Contains(err.Error(), "--frags") {
					t.Errorf("%v", err)
				}
				return
			}
			near := required(faultOptions, ebpf.ModeGeneric)
			near.Datagram, near.XDP.Peers = 8900, 1
			x, y := between(t, l, false, 0, afxdp.Dial, afxdp.Dial, near, o)
			defer y.Close()
			defer x.Close()
			pass(t, x, y, 50, 8000, nil)
			pass(t, y, x, 50, 8000, nil)
			if r, _, err := y.XDP(); err != nil || r.Joined < 50 || r.Sent < 50 {
				t.Errorf("%v, %+v", err, r)
			}
		})
	}
}

// withBroker runs a broker on host B, where o says that one is, until the test ends.
func withBroker(t *testing.T, l *netlab.Lab, o *afxdp.Options, frags bool) {
	t.Helper()
	lis, err := broker.Listen(o.XDP.Broker, 0o600)
	must(t, err)
	var b *broker.Broker
	must(t, l.B.Do(func() (err error) {
		b, err = broker.New(broker.Options{Interface: l.B.Index, Port: portB, Mode: ebpf.ModeGeneric, Frags: frags})
		return err
	}))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	// A thread of its own, for the host's is asked for more.
	go func() {
		runtime.LockOSThread()
		err := l.B.Enter()
		if err == nil {
			err = b.Run(ctx, lis, func(err error) { t.Log(err) })
		}
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, b.Close()); err != nil {
			t.Error(err)
		}
	})
}

// echoed sends vesicles one by one and waits for each to come back.
func echoed(c *afxdp.Conn, n int) error {
	var in, out [1]wire.Vesicle
	end := time.Now().Add(deadline)
	for range n {
		if _, err := c.Claim(out[:], 100); err != nil {
			return err
		}
		out[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 1}
		if err := errors.Join(c.Commit(out[:]), c.Flush()); err != nil {
			return err
		}
		for got := 0; got == 0; {
			k, err := c.Poll(in[:])
			if err == nil && k == 1 {
				err = c.Release(1)
			}
			if err != nil || time.Now().After(end) {
				return errors.Join(err, errLate(end))
			}
			got = k
		}
	}
	return nil
}

func errLate(end time.Time) error {
	if time.Now().After(end) {
		return errors.New("an echo has not come in time")
	}
	return nil
}
