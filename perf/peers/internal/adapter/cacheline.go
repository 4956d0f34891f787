package adapter

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/sched"
)

var cacheLine = peer.Adapter{
	Name: "cache-line", Family: peer.Limit,
	About: "no product: one word in a cache line goes there and another comes back; both sides spin",
	Works: []peer.Work{peer.RTT}, MaxSize: 64,
	Serve: func(peer.Setting) (peer.Server, error) { return serveLine() },
	Dial:  dialLine,
}

const (
	lineMemory = 4096
	linePing   = 0
	linePong   = 512
	lineEnd    = ^uint64(0)
)

// line is memory that two processes map.
type line struct {
	fd         int
	b          []byte
	ping, pong *uint64
}

func mapLine(fd int) (*line, error) {
	b, err := unix.Mmap(fd, 0, lineMemory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("mapping a page for the bare line: %w", err)
	}
	return &line{fd: fd, b: b, ping: word(b, linePing), pong: word(b, linePong)}, nil
}

func (l *line) unmap() error {
	if err := unix.Munmap(l.b); err != nil {
		return err
	}
	return unix.Close(l.fd)
}

type lineServer struct {
	*line
	done chan struct{}
}

func serveLine() (*lineServer, error) {
	fd, err := unix.MemfdCreate("cell-perf-line", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("a page for the bare line: %w", err)
	}
	if err := unix.Ftruncate(fd, lineMemory); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("a page for the bare line: %w", err)
	}
	l, err := mapLine(fd)
	if err != nil {
		return nil, err
	}
	s := &lineServer{line: l, done: make(chan struct{})}
	go s.answer()
	return s, nil
}

func (s *lineServer) answer() {
	defer close(s.done)
	for want := uint64(1); ; want++ {
		got := atomic.LoadUint64(s.ping)
		for got != want && got != lineEnd {
			sched.Pause()
			got = atomic.LoadUint64(s.ping)
		}
		if got == lineEnd {
			return
		}
		storeWord(s.pong, want)
	}
}

// Addr implements peer.Server: the descriptor, as other processes of the same
// user can open it.
func (s *lineServer) Addr() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.fd) }

// Close implements peer.Server.
func (s *lineServer) Close() error {
	atomic.StoreUint64(s.ping, lineEnd)
	<-s.done
	return s.unmap()
}

type lineClient struct {
	peer.Unsupported
	*line
	i uint64
}

func dialLine(_ peer.Setting, addr string) (peer.Client, error) {
	fd, err := unix.Open(addr, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the page for the bare line: %w", err)
	}
	l, err := mapLine(fd)
	if err != nil {
		return nil, err
	}
	return &lineClient{line: l}, nil
}

// Call implements peer.Client. The request's bytes do not travel; they are
// returned so that reading them costs what it costs with every peer.
func (c *lineClient) Call(request []byte) ([]byte, error) {
	c.i++
	storeWord(c.ping, c.i)
	for atomic.LoadUint64(c.pong) != c.i {
		sched.Pause()
	}
	return request, nil
}

// Close implements peer.Client.
func (c *lineClient) Close() error { return c.unmap() }
