package uds

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// lingering returns a descriptor whose last close waits until the returned
// function is called, or for a minute.
func lingering(t *testing.T) (fd int, release func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	fd, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 60})
	if err := errors.Join(err, unix.SetNonblock(fd, true)); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 1<<20); err == nil; {
		_, err = unix.Write(fd, b) // until nobody takes any more
	}
	return fd, func() { far.(*net.TCPConn).SetLinger(0); far.Close() }
}

// A listener passes descriptors whose close waits; the dialer goes when it is told
// to.
func TestDialerIsNotHeldByTheCloseOfADescriptor(t *testing.T) {
	fd, release := lingering(t)
	defer release()
	a, b := socketPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		c, err := Client(ctx, a, nil)
		if c != nil {
			c.Close()
		}
		done <- err
	}()
	x := newExchange(b, link.Peer{}, 0)
	if _, err := x.receive(kindHello); err != nil {
		t.Fatal(err)
	}
	o := offer{version: versionHigh, path: PathRing, ringSize: 4096, maxPayload: 4096}
	if err := x.send(o.append(nil), fd, fd); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	awaitRead(t, b)
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the dial: %v, want its context's end", err)
		}
	case <-time.After(patience):
		t.Fatal("the dialer is held beyond its context")
	}
	if n := leftBehind.Load(); n != 1 {
		t.Fatalf("%d handshakes left behind, want 1: did the close not wait?", n)
	}
	release()
	for end := time.Now().Add(patience); leftBehind.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the handshake that was left behind does not end")
		}
	}
}

// awaitRead waits until the other side has read all that was written to c.
func awaitRead(t *testing.T, c *net.UnixConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var unread int
		var ioctl error
		if err := raw.Control(func(fd uintptr) { unread, ioctl = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil || ioctl != nil {
			t.Fatal(err, ioctl)
		}
		if unread == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d bytes stay unread", unread)
		}
	}
}

func TestDialerThatWasLeftByTooManyRefuses(t *testing.T) {
	leftBehind.Add(mostLeft)
	defer leftBehind.Add(-mostLeft)
	if _, err := Dial(soon(t), "test", &Options{Dir: privateDir(t)}); !errors.Is(err, ErrRefused) {
		t.Errorf("Dial: %v, want a refusal", err)
	}
	a, _ := socketPair(t)
	if _, err := Client(soon(t), a, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("Client: %v, want a refusal", err)
	}
}

// Once two have shaken hands, neither can make the other close descriptors in the
// middle of a read.
func TestConnectionsTakeNoDescriptors(t *testing.T) {
	for _, path := range []Path{PathRing, PathStream} {
		t.Run(path.String(), func(t *testing.T) {
			d, l := pair(t, Options{Path: path}, Options{Path: path})
			if _, err := unix.GetsockoptInt(d.fd, unix.SOL_SOCKET, soPassRights); err != nil {
				t.Skip("the kernel is older than 6.16")
			}
			for _, c := range []*Conn{d, l} {
				err := unix.Sendmsg(c.fd, []byte{ringByte}, unix.UnixRights(c.fd), nil, unix.MSG_DONTWAIT)
				if !errors.Is(err, unix.EPERM) {
					t.Errorf("a descriptor was sent to the other side: %v", err)
				}
			}
		})
	}
}
