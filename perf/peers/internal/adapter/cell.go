package adapter

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// Cell's links without the rpc package: vesicles (a header of 20 bytes and the
// payload) claimed, written in place, and read where they lie.
var cellAdapters = []peer.Adapter{
	cellRaw("cell-ring-raw", "Cell's rings, spinning, one vesicle a publication", everything,
		cellLink{path: uds.PathRing, wait: uds.WaitSpin, batch: 1}),
	cellRaw("cell-ring-raw-batched", "the same, up to 64 vesicles (256 KiB) a publication", []peer.Work{peer.Pipelined, peer.Stream},
		cellLink{path: uds.PathRing, wait: uds.WaitSpin, batch: peer.Window}),
	cellRaw("cell-ring-raw-park", "Cell's rings, asleep in poll(2) while there is nothing", everything,
		cellLink{path: uds.PathRing, wait: uds.WaitPark, batch: 1}),
	cellRaw("cell-uds-raw", "the same vesicles over a unix socket, spinning", everything,
		cellLink{path: uds.PathStream, wait: uds.WaitSpin, batch: 1}),
	cellRaw("cell-uds-raw-park", "the same vesicles over a unix socket, asleep while there is nothing", everything,
		cellLink{path: uds.PathStream, wait: uds.WaitPark, batch: 1}),
}

// cellLink is one way to use a link.
type cellLink struct {
	path  uds.Path
	wait  uds.WaitMode
	batch int // vesicles in one publication
}

func cellRaw(name, about string, works []peer.Work, l cellLink) peer.Adapter {
	return peer.Adapter{Name: name, Family: peer.Transport, About: about, Works: works, Serve: l.serve, Dial: l.dial}
}

const cellName = "peer"

// ringSize is what suits the work, as cellbench measured it: within the first
// cache for small vesicles of a stream, more than the second for large ones,
// and always room for a window.
func ringSize(set peer.Setting) int {
	size := 64 + set.Size
	n := 16 << 10
	switch {
	case set.Work == peer.RTT:
		n = 64 << 10
	case set.Work == peer.Pipelined:
		n = 2 * peer.Window * size
	case size > 256:
		n = 4 << 20
	}
	power := 16 << 10
	for power < n || power < 4*size && power < 8<<20 || power/2 < size {
		power *= 2
	}
	return power
}

func (l cellLink) options(set peer.Setting) *uds.Options {
	n := ringSize(set)
	return &uds.Options{Dir: set.Dir, Path: l.path, RingSize: n, MaxRingSize: n, Prefault: true,
		MaxPayload: max(set.Size, 4096), MaxMemory: 4 << 30}
}

type cellServer struct {
	l      *uds.Listener
	mu     sync.Mutex
	conn   *uds.Conn
	closed bool
	served chan error
}

// serve takes one connection: that is all that a measurement makes.
func (l cellLink) serve(set peer.Setting) (peer.Server, error) {
	listener, err := uds.Listen(cellName, l.options(set))
	if err != nil {
		return nil, err
	}
	s := &cellServer{l: listener, served: make(chan error, 1)}
	go func() { s.served <- s.run(l, set) }()
	return s, nil
}

func (s *cellServer) run(l cellLink, set peer.Setting) error {
	c, err := s.l.Accept(context.Background())
	if errors.Is(err, uds.ErrListenerClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	s.mu.Lock()
	s.conn = c
	if s.closed {
		c.Shutdown()
	}
	s.mu.Unlock()
	e := newCellEnd(c, l.wait)
	switch set.Work {
	case peer.RTT:
		return e.echo(set.Size)
	case peer.Pipelined:
		return e.echoMany()
	}
	return e.take()
}

// Addr implements peer.Server.
func (s *cellServer) Addr() string { return cellName }

// Close implements peer.Server.
func (s *cellServer) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.conn != nil {
		s.conn.Shutdown()
	}
	s.mu.Unlock()
	err := s.l.Close()
	// How the connection ended was the client's doing, and is its to report.
	<-s.served
	return err
}

type cellClient struct {
	*cellEnd
	conn    *uds.Conn
	batch   int
	in, out [1]wire.Vesicle
	id      uint32
}

func (l cellLink) dial(set peer.Setting, addr string) (peer.Client, error) {
	c, err := uds.Dial(context.Background(), addr, l.options(set))
	if err != nil {
		return nil, err
	}
	return &cellClient{cellEnd: newCellEnd(c, l.wait), conn: c, batch: l.batch}, nil
}

// Close implements peer.Client.
func (c *cellClient) Close() error { return c.conn.Close() }

// Call implements peer.Client. The last reply is given back and the next place
// claimed while the answer is under way.
func (c *cellClient) Call(request []byte) ([]byte, error) {
	if c.id == 0 {
		c.out[0].Header = wire.Header{Fingerprint: cellFingerprint, Kind: wire.KindRequest, Hops: 1}
		if _, err := c.claim(c.out[:], len(request)); err != nil {
			return nil, err
		}
	}
	put(c.out[0].Payload, request)
	c.out[0].Header.Correlation = c.id
	if err := c.publish(c.out[:]); err != nil {
		return nil, err
	}
	if c.id != 0 {
		if err := c.release(1); err != nil {
			return nil, err
		}
	}
	if _, err := c.claim(c.out[:], len(request)); err != nil {
		return nil, err
	}
	if _, err := c.poll(c.in[:]); err != nil {
		return nil, err
	}
	if h := &c.in[0].Header; h.Correlation != c.id || h.Kind != wire.KindReply {
		return nil, fmt.Errorf("call %d was answered by a vesicle of kind %d, correlation %d", c.id, h.Kind, h.Correlation)
	}
	if c.id++; c.id == 0 {
		c.id = 1 // 0 means the first call
	}
	return c.in[0].Payload, nil
}
