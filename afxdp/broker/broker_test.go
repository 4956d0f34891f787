package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/broker"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/afxdp/xsk"
	"github.com/cell-runtime/cell/ebpf"
)

const (
	testPort   = 47124
	nobody     = 65534
	envNobody  = "CELL_BROKER_TEST_NOBODY"
	headerSize = 14 + 20 + 8
)

// TestNobody is no test: it is the process without capabilities that
// TestAQueueWithoutCapabilities starts. It owns a queue and sends each packet
// back, its payload in capitals.
func TestNobody(t *testing.T) {
	if os.Getenv(envNobody) == "" {
		t.Skip("the child of TestAQueueWithoutCapabilities")
	}
	if os.Geteuid() != nobody {
		t.Fatalf("runs as %d", os.Geteuid())
	}
	f, err := net.FileConn(os.NewFile(3, "broker"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := broker.Receive(f.(*net.UnixConn), 0)
	if err != nil {
		t.Fatal(err)
	}
	u, err := xsk.NewUmem(xsk.UmemOptions{Frames: 64, FrameSize: 2048})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := xsk.Open(u, xsk.Config{Interface: h.Interface, Rx: 32, Tx: 32, Fill: 32, Completion: 32}); !errors.Is(err, xsk.ErrPermission) {
		t.Errorf("a socket of its own: %v, %v", s, err)
	}
	s, err := xsk.Open(u, xsk.Config{FD: h.FD, Interface: h.Interface, Queue: h.Queue, Rx: 32, Tx: 32, Fill: 32, Completion: 32, NeedWakeup: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Fill.Put([]uint64{0, 2048, 4096, 6144})
	fmt.Println("ready")
	var ds [4]xsk.Desc
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		_ = s.WakeRx()
		n := s.Rx.Take(ds[:])
		for _, d := range ds[:n] {
			turn(u.Packet(d))
			s.Tx.Put([]xsk.Desc{{Address: d.Address, Length: d.Length}})
		}
		if n > 0 {
			_, _ = s.WakeTx()
			continue
		}
		fds := []unix.PollFd{{Fd: int32(s.FD()), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, 100)
	}
}

// turn makes an answer of a UDP packet over IPv4.
func turn(b []byte) {
	swap := func(at, other, n int) {
		for i := range n {
			b[at+i], b[other+i] = b[other+i], b[at+i]
		}
	}
	swap(0, 6, 6)
	swap(26, 30, 4)
	swap(34, 36, 2)
	b[40], b[41] = 0, 0 // no checksum
	copy(b[headerSize:], bytes.ToUpper(b[headerSize:]))
}

// serve runs a broker on host A, and returns a connection to it, as a file to
// hand on.
func serve(t *testing.T, h *netlab.Host, b *broker.Broker) (*os.File, chan error) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	c, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		defer c.Close()
		served <- h.Do(func() error { return b.Serve(c.(*net.UnixConn)) })
	}()
	t.Cleanup(func() { theirs.Close() })
	return theirs, served
}

func brokerOn(t *testing.T, o broker.Options) (*netlab.Lab, *broker.Broker) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces and AF_XDP sockets")
	}
	lab, err := netlab.New(netlab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	var b *broker.Broker
	o.Interface, o.Port = lab.A.Index, testPort
	err = lab.A.Do(func() (err error) { b, err = broker.New(o); return err })
	if errors.Is(err, ebpf.ErrNotSupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab, b
}

func TestAQueueWithoutCapabilities(t *testing.T) {
	lab, b := brokerOn(t, broker.Options{Allow: func(unix.Ucred) error { return nil }})
	theirs, served := serve(t, lab.A, b)
	// By this name, for the directory may be closed to others.
	child := exec.Command("/proc/self/exe", "-test.run=^TestNobody$", "-test.v")
	child.Dir, child.Env, child.ExtraFiles = "/", append(os.Environ(), envNobody+"=1", "TMPDIR=/tmp", "HOME=/"), []*os.File{theirs}
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	var said output
	child.Stdout, child.Stderr = &said, &said
	if err := child.Start(); err != nil { // in this namespace: the socket is of host A's
		t.Fatal(err)
	}
	theirs.Close()
	err := lab.B.Do(func() error { return ask(netip.AddrPortFrom(lab.A.V4, testPort)) })
	if err != nil {
		t.Errorf("%v\n%s", err, said.String())
	}
	if err := child.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = child.Wait() // killed
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the broker has not noticed that the process is gone")
	}
	// The queue is free again.
	again, _ := serve(t, lab.A, b)
	c, err := net.FileConn(again)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h, err := broker.Receive(c.(*net.UnixConn), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(h.FD); err != nil {
		t.Error(err)
	}
}

// ask sends until an answer comes.
func ask(to netip.AddrPort) error {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	defer c.Close()
	var b [64]byte
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		_, _ = c.Write([]byte("hello")) // refused until the child is there
		if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			return err
		}
		if n, err := c.Read(b[:]); err == nil {
			if string(b[:n]) != "HELLO" {
				return fmt.Errorf("the answer is %q", b[:n])
			}
			return nil
		}
	}
	return errors.New("no answer has come")
}

// output keeps what a child says.
type output struct{ strings.Builder }

func TestBrokerRefuses(t *testing.T) {
	lab, b := brokerOn(t, broker.Options{})
	request := func(queue uint32) (broker.Handed, *net.UnixConn, error) {
		theirs, _ := serve(t, lab.A, b)
		c, err := net.FileConn(theirs)
		theirs.Close()
		if err != nil {
			t.Fatal(err)
		}
		h, err := broker.Receive(c.(*net.UnixConn), queue)
		return h, c.(*net.UnixConn), err
	}
	if _, c, err := request(7); !errors.Is(err, broker.ErrRefused) || !strings.Contains(err.Error(), "not handed out") {
		t.Errorf("a queue that is not handed out: %v", err)
	} else {
		c.Close()
	}
	h, c, err := request(0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer unix.Close(h.FD)
}

func TestAllow(t *testing.T) {
	lab, b := brokerOn(t, broker.Options{Allow: func(c unix.Ucred) error { return fmt.Errorf("not user %d today", c.Uid) }})
	theirs, served := serve(t, lab.A, b)
	c, err := net.FileConn(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// It has gone before it is asked: its reason is there all the same.
	if err := <-served; err == nil {
		t.Error("the broker does not say that it has refused")
	}
	if _, err := broker.Receive(c.(*net.UnixConn), 0); !errors.Is(err, broker.ErrRefused) || !strings.Contains(err.Error(), "not user 0 today") {
		t.Errorf("%v", err)
	}
}
