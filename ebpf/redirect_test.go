package ebpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	xdpPass     = 2
	xdpRedirect = 4
)

// skipOrFail skips where nothing can be loaded, and fails where a program is
// refused that should not be.
func skipOrFail(t testing.TB, err error) {
	t.Helper()
	var refused *ebpf.VerifierError
	switch {
	case err == nil:
	case (errors.Is(err, ErrPermission) || errors.Is(err, ErrNotSupported)) && !errors.As(err, &refused):
		t.Skip(err)
	default:
		t.Fatalf("%+v", err)
	}
}

// loaded loads the program, with a socket for queue 0 unless bare.
func loaded(t testing.TB, bare bool) *Redirect {
	t.Helper()
	r, err := LoadRedirect(testPort)
	skipOrFail(t, err)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if !bare {
		fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Skipf("no AF_XDP sockets: %v", err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := r.SetSocket(0, fd); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// try runs the program on a frame and returns its verdict and what it counted.
func try(t testing.TB, r *Redirect, frame []byte) (code uint32, counted RedirectStats) {
	t.Helper()
	before, err := r.Stats()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, len(frame)+256)
	o := &ebpf.RunOptions{Data: frame, DataOut: out}
	code, err = r.objects.Redirect.Run(o)
	if err != nil {
		t.Fatalf("running the program on %d bytes: %v", len(frame), err)
	}
	if !bytes.Equal(o.DataOut, frame) {
		t.Errorf("the program changed the frame")
	}
	after, err := r.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return code, RedirectStats{
		after.Redirected - before.Redirected, after.NoSocket - before.NoSocket,
		after.Fragments - before.Fragments, after.Other - before.Other,
	}
}

// expected is what a verdict looks like from outside.
func (v verdict) expected() (code uint32, counted RedirectStats) {
	switch v {
	case redirected:
		return xdpRedirect, RedirectStats{Redirected: 1}
	case fragmented:
		return xdpPass, RedirectStats{Fragments: 1}
	}
	return xdpPass, RedirectStats{Other: 1}
}

func TestRedirect(t *testing.T) {
	r := loaded(t, false)
	for _, v := range []struct {
		name string
		p    packet
		want verdict
	}{
		{"UDP over IPv4", packet{}, redirected},
		{"UDP over IPv6", packet{v6: true}, redirected},
		{"one VLAN tag", packet{vlans: 1}, redirected},
		{"one VLAN tag, IPv6", packet{vlans: 1, v6: true}, redirected},
		{"two VLAN tags", packet{vlans: 2}, other},
		{"a wrong IPv4 checksum is for the reader to see", packet{badSum: true}, redirected},
		{"don't-fragment", packet{fragment: 0x4000}, redirected},
		{"another port", packet{port: 22}, other},
		{"port in the other byte order", packet{port: testPort<<8&0xffff | testPort>>8}, other},
		{"TCP", packet{proto: 6}, other},
		{"TCP over IPv6", packet{v6: true, proto: 6}, other},
		{"ARP", packet{ethertype: 0x0806}, other},
		{"first fragment", packet{fragment: 0x2000}, fragmented},
		{"last fragment", packet{fragment: 0x0010}, fragmented},
		{"IPv6 fragment", packet{v6: true, proto: 44, extension: make([]byte, 8)}, fragmented},
		{"IPv6 hop-by-hop", packet{v6: true, extension: []byte{17, 0, 0, 0, 0, 0, 0, 0}, proto: 255}, other},
		{"IPv4 options", packet{options: 1}, other},
		{"IPv6 in an IPv4 type", packet{v6: true, ethertype: 0x0800}, other},
	} {
		t.Run(v.name, func(t *testing.T) {
			frame := v.p.build()
			if m := model(frame, testPort); m != v.want {
				t.Errorf("the model says %d, want %d", m, v.want)
			}
			code, counted := try(t, r, frame)
			if c, s := v.want.expected(); code != c || counted != s {
				t.Errorf("verdict %d, counted %+v; want %d and %+v", code, counted, c, s)
			}
		})
	}
}

// The kernel's test run takes nothing shorter than an Ethernet header.
func TestRedirectOfTruncatedFrames(t *testing.T) {
	r := loaded(t, false)
	for _, p := range []packet{{}, {v6: true}, {vlans: 1}, {vlans: 1, v6: true}, {fragment: 0x2000}} {
		frame := p.build()
		for n := 14; n <= len(frame); n++ {
			code, counted := try(t, r, frame[:n])
			if c, s := model(frame[:n], testPort).expected(); code != c || counted != s {
				t.Errorf("%+v cut to %d bytes: verdict %d, counted %+v; want %d and %+v", p, n, code, counted, c, s)
			}
		}
	}
}

// What goes to a socket has the time of its arrival before it, and nothing else
// has anything.
func TestRedirectWithTimes(t *testing.T) {
	r, err := RedirectOptions{Timed: true}.Load(testPort)
	skipOrFail(t, err)
	defer r.Close()
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no AF_XDP sockets: %v", err)
	}
	defer unix.Close(fd)
	if err := r.SetSocket(0, fd); err != nil {
		t.Fatal(err)
	}
	now := func() uint64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return uint64(ts.Nano())
	}
	for _, p := range []packet{{}, {v6: true}, {vlans: 1}, {port: 22}, {fragment: 0x2000}, {ethertype: 0x0806}} {
		frame := p.build()
		o := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
		before := now()
		code, err := r.objects.Redirect.Run(o)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := model(frame, testPort).expected()
		got := o.DataOut
		if want == xdpRedirect && len(got) == len(frame)+8 {
			if at := binary.NativeEndian.Uint64(got); at < before || at > now() {
				t.Errorf("%+v: arrived at %d, not since %d", p, at, before)
			}
			got = got[8:]
		}
		if code != want || !bytes.Equal(got, frame) {
			t.Errorf("%+v: verdict %d, want %d, with %d bytes of %d", p, code, want, len(o.DataOut), len(frame))
		}
	}
}

func TestRedirectWithoutASocketPasses(t *testing.T) {
	r := loaded(t, true)
	code, counted := try(t, r, packet{}.build())
	if code != xdpPass || counted != (RedirectStats{NoSocket: 1}) {
		t.Errorf("verdict %d, counted %+v", code, counted)
	}
}

func TestRedirectRefuses(t *testing.T) {
	if _, err := LoadRedirect(0); err == nil {
		t.Error("port 0 is accepted")
	}
	r := loaded(t, false)
	if err := r.SetSocket(MaxQueues, 0); err == nil {
		t.Errorf("queue %d is accepted", MaxQueues)
	}
	if err := r.SetSocket(0, int(os.Stdin.Fd())); err == nil {
		t.Error("a descriptor that is no socket is accepted")
	}
	if err := r.Attach(1<<30, ModeAuto); err == nil {
		t.Error("an interface that does not exist is accepted")
	}
	for range 2 {
		if err := r.ClearSocket(0); err != nil {
			t.Errorf("ClearSocket: %v", err)
		}
	}
}

func FuzzRedirect(f *testing.F) {
	for _, p := range []packet{{}, {v6: true}, {vlans: 1}, {fragment: 1}, {proto: 6}} {
		f.Add(p.build())
	}
	r := loaded(f, false)
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 14 || len(frame) > 1500 {
			return
		}
		code, counted := try(t, r, frame)
		if c, s := model(frame, testPort).expected(); code != c || counted != s {
			t.Errorf("%x: verdict %d, counted %+v; the model says %d and %+v", frame, code, counted, c, s)
		}
	})
}
