package adapter

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
)

// A unix stream socket without any protocol: both sides know the size. It is
// the floor of everything that goes through the kernel.
var unixAdapters = []peer.Adapter{{
	Name: "unix", Family: peer.Transport,
	About: "unix stream socket, blocking reads as Go has them, one write a message",
	Works: []peer.Work{peer.RTT, peer.Stream},
	Serve: serveUnix(blockingStream), Dial: dialUnix(blockingStream, 1),
}, {
	Name: "unix-spin", Family: peer.Transport,
	About: "the same socket, never sleeping: reads are tried until there is something",
	Works: []peer.Work{peer.RTT, peer.Stream},
	Serve: serveUnix(spinningStream), Dial: dialUnix(spinningStream, 1),
}, {
	Name: "unix-batched", Family: peer.Transport,
	About: "the same socket, blocking, up to 64 messages (256 KiB) in a write",
	Works: []peer.Work{peer.Pipelined, peer.Stream},
	Serve: serveUnix(blockingStream), Dial: dialUnix(blockingStream, peer.Window),
}}

// byteStream is a socket in one of the two ways of waiting.
type byteStream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

type wrapStream func(*net.UnixConn) (byteStream, error)

func blockingStream(c *net.UnixConn) (byteStream, error) { return c, nil }

// largestWrite bounds one write of several messages, and so what is under way
// in a pipeline: both directions must fit the socket's buffers, or two writers
// would wait for each other.
const largestWrite = 256 << 10

// unixServer accepts connections and serves each by serve.
type unixServer struct {
	listener *net.UnixListener
	mu       sync.Mutex
	closed   bool
	conns    map[*net.UnixConn]struct{}
	all      sync.WaitGroup
}

// listenUnix begins to serve on a socket in dir.
func listenUnix(dir string, serve func(*net.UnixConn)) (*unixServer, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		return nil, err
	}
	s := &unixServer{listener: l, conns: map[*net.UnixConn]struct{}{}}
	s.all.Go(func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return // closed
			}
			if !s.keep(c) {
				c.Close()
				return
			}
			s.all.Go(func() {
				serve(c)
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				c.Close()
			})
		}
	})
	return s, nil
}

func (s *unixServer) keep(c *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// Addr implements peer.Server.
func (s *unixServer) Addr() string { return s.listener.Addr().String() }

// Close implements peer.Server. It waits for everything that serves.
func (s *unixServer) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		// Not Close alone: a spinning reader has a descriptor of its own.
		_ = c.CloseWrite()
		_ = c.CloseRead()
		c.Close()
	}
	s.mu.Unlock()
	s.all.Wait()
	return err
}

func dialUnixConn(addr string) (*net.UnixConn, error) {
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: addr, Net: "unix"})
}

func serveUnix(wrap wrapStream) func(peer.Setting) (peer.Server, error) {
	return func(set peer.Setting) (peer.Server, error) {
		return listenUnix(set.Dir, func(c *net.UnixConn) {
			s, err := wrap(c)
			if err != nil {
				return
			}
			defer s.Close()
			if set.Work == peer.Stream {
				// An end in mid-stream is the client's to report.
				_ = takeBytes(s, set.Size)
			} else {
				_ = echoBytes(s, set.Size)
			}
		})
	}
}

// echoBytes sends back what comes: small messages as many as are there, large
// ones whole, for a peer that writes while it is written to would never end.
func echoBytes(s byteStream, size int) error {
	if size > largestWrite/4 {
		b := make([]byte, size)
		for {
			if _, err := io.ReadFull(s, b); err != nil {
				return err
			}
			if _, err := s.Write(b); err != nil {
				return err
			}
		}
	}
	b := make([]byte, largestWrite)
	for {
		n, err := s.Read(b)
		if err != nil {
			return err
		}
		if _, err := s.Write(b[:n]); err != nil {
			return err
		}
	}
}

// takeBytes counts messages until the sender's end, and answers with the tally.
func takeBytes(s byteStream, size int) error {
	var t peer.Tally
	// A whole number of messages, so that a full buffer ends with one and
	// nothing is ever moved.
	b := make([]byte, max(largestWrite, size)/size*size)
	held, taken := 0, 0
	for {
		n, err := s.Read(b[held:])
		for held += n; held-taken >= size; taken += size {
			t.Add(b[taken : taken+size])
		}
		if taken == held {
			held, taken = 0, 0
		}
		if errors.Is(err, io.EOF) {
			_, err = s.Write(t.Append(nil))
			return err
		}
		if err != nil {
			return err
		}
	}
}

type unixClient struct {
	s     byteStream
	reply []byte
	batch int // messages in one write
}

func dialUnix(wrap wrapStream, batch int) func(peer.Setting, string) (peer.Client, error) {
	return func(set peer.Setting, addr string) (peer.Client, error) {
		c, err := dialUnixConn(addr)
		if err != nil {
			return nil, err
		}
		s, err := wrap(c)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return &unixClient{s: s, reply: make([]byte, set.Size), batch: max(1, min(batch, largestWrite/set.Size))}, nil
	}
}

// Call implements peer.Client.
func (c *unixClient) Call(request []byte) ([]byte, error) {
	if _, err := c.s.Write(request); err != nil {
		return nil, err
	}
	_, err := io.ReadFull(c.s, c.reply)
	return c.reply, err
}

func repeated(b []byte, n int) []byte {
	many := make([]byte, 0, n*len(b))
	for range n {
		many = append(many, b...)
	}
	return many
}

// Pipeline implements peer.Client: a window in one write, its answers as they
// come.
func (c *unixClient) Pipeline(request []byte, more peer.More) (uint64, error) {
	// A quarter of the bound: the same bytes are under way back.
	batch := max(1, min(c.batch, largestWrite/4/len(request)))
	out := repeated(request, batch)
	in := make([]byte, len(out))
	for n := uint64(0); ; {
		if _, err := c.s.Write(out); err != nil {
			return n, err
		}
		if _, err := io.ReadFull(c.s, in); err != nil {
			return n, err
		}
		peer.Touch(in)
		if n += uint64(batch); !more(n) {
			return n, nil
		}
	}
}

// Stream implements peer.Client.
func (c *unixClient) Stream(message []byte, more peer.More) (peer.Tally, error) {
	out := repeated(message, c.batch)
	for n := uint64(0); more(n); n += uint64(c.batch) {
		if _, err := c.s.Write(out); err != nil {
			return peer.Tally{}, err
		}
	}
	if err := c.s.CloseWrite(); err != nil {
		return peer.Tally{}, err
	}
	b, err := io.ReadAll(c.s)
	if err != nil {
		return peer.Tally{}, err
	}
	return peer.ParseTally(b)
}

// Close implements peer.Client.
func (c *unixClient) Close() error { return c.s.Close() }
