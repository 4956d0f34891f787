//go:build amd64 || arm64

package adapter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudwego/shmipc-go"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/ring"
)

// shmipc-go, which runs on two processors only, moves payloads through shared memory and wakes the reader through
// a unix socket, unless it is awake already. Payloads are written straight into
// that memory (Reserve) and read where they lie (ReadBytes).
var shmipcAdapters = []peer.Adapter{{
	Name: "shmipc", Family: peer.Transport, Module: "github.com/cloudwego/shmipc-go",
	About: "shmipc-go, written and read in place, a flush a message; pipelines are 64 of its streams",
	Works: everything,
	Serve: serveShmipc(1), Dial: dialShmipc(1),
}, {
	Name: "shmipc-batched", Family: peer.Transport, Module: "github.com/cloudwego/shmipc-go",
	About: "the same, up to 64 messages (4 MiB) a flush",
	Works: []peer.Work{peer.Pipelined, peer.Stream},
	Serve: serveShmipc(peer.Window), Dial: dialShmipc(peer.Window),
}}

const (
	// shmipcMemory is the most that is under way on one stream. When its
	// memory ends the library turns to the socket, for good; a user has to
	// bound what he sends, and here the reader's answers do that.
	shmipcMemory = 16 << 20
	// shmipcQuiet turns its log off: it goes to the standard output.
	shmipcQuiet = 5
)

// shmipcBatch is how many messages of size go into one flush.
func shmipcBatch(batch, size int) int { return max(1, min(batch, 4<<20/size)) }

// shmipcRound is after how many messages the reader of a stream answers.
func shmipcRound(batch, size int) int {
	b := shmipcBatch(batch, size)
	return max(1, min(1024, shmipcMemory/4/size)/b) * b
}

// shmipcConfig is that of the library's own benchmarks: memory by memfd, a long
// queue, slices that hold a message (here: a batch of small ones) each. Only
// the memory is smaller than their 256 MiB, twice what can be under way: its
// slices are used in turn, and the more there are, the colder the caches.
func shmipcConfig(batch int, set peer.Setting) *shmipc.Config {
	c := shmipc.DefaultConfig()
	c.MemMapType = shmipc.MemMapTypeMemFd
	// Sessions of one process share memory under one name, which tests don't want.
	c.ShareMemoryPathPrefix = fmt.Sprintf("/dev/shm/cell-perf-%d-%d", os.Getpid(), shmipcNames.Add(1))
	c.QueueCap = 65535
	slice := max(set.Size, min(shmipcBatch(batch, set.Size)*set.Size, 64<<10)) + 256
	slices := 4 * peer.Window
	if set.Work == peer.RTT {
		slices = 16
	} else if set.Work == peer.Stream {
		slices = 8 * shmipcRound(batch, set.Size) / max(1, slice/(set.Size+256))
	}
	c.ShareMemoryBufferCap = uint32(max(4<<20, slices*(slice+64)))
	c.BufferSliceSizes = []*shmipc.SizePercentPair{{Size: uint32(slice), Percent: 100}}
	return c
}

var shmipcNames atomic.Uint32

type shmipcServer struct {
	l       *shmipc.Listener
	set     peer.Setting
	batch   int
	streams sync.WaitGroup
}

func serveShmipc(batch int) func(peer.Setting) (peer.Server, error) {
	return func(set peer.Setting) (peer.Server, error) {
		shmipc.SetLogLevel(shmipcQuiet)
		c := shmipc.NewDefaultListenerConfig(filepath.Join(set.Dir, "s"), "unix")
		c.Config = shmipcConfig(batch, set)
		s := &shmipcServer{set: set, batch: shmipcBatch(batch, set.Size)}
		l, err := shmipc.NewListener(s, c)
		if err != nil {
			return nil, err
		}
		s.l = l
		go l.Run() // ends with Close
		return s, nil
	}
}

// Addr implements peer.Server.
func (s *shmipcServer) Addr() string { return s.l.Addr().String() }

// Close implements peer.Server. The streams must have ended before the library
// unmaps their memory.
func (s *shmipcServer) Close() error {
	done := make(chan struct{})
	go func() { s.streams.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
	return s.l.Close()
}

// OnShutdown implements shmipc.ListenCallback.
func (s *shmipcServer) OnShutdown(string) {}

// OnNewStream implements shmipc.ListenCallback.
func (s *shmipcServer) OnNewStream(st *shmipc.Stream) {
	s.streams.Go(func() {
		// The client's end is an error here like any other.
		if s.set.Work == peer.Stream {
			_ = takeShmipc(st, s.set.Size, shmipcRound(s.batch, s.set.Size))
		} else {
			_ = echoShmipc(st, s.set.Size, s.batch)
		}
		st.Close()
	})
}

// writeShmipc puts b into the shared memory; Flush sends it. The copy is the
// user's own here, so it is the best one that Cell knows.
func writeShmipc(st *shmipc.Stream, b []byte) error {
	place, err := st.BufferWriter().Reserve(len(b))
	ring.Copy(place, b)
	return err
}

func echoShmipc(st *shmipc.Stream, size, batch int) error {
	for {
		for range batch {
			b, err := st.BufferReader().ReadBytes(size)
			if err != nil {
				return err
			}
			if err := writeShmipc(st, b); err != nil {
				return err
			}
		}
		st.BufferReader().ReleasePreviousRead()
		if err := st.Flush(false); err != nil {
			return err
		}
	}
}

// takeShmipc tells the tally after every round of messages.
func takeShmipc(st *shmipc.Stream, size, round int) error {
	var t peer.Tally
	for {
		for range round {
			b, err := st.BufferReader().ReadBytes(size)
			if err != nil {
				return err
			}
			t.Add(b)
			st.BufferReader().ReleasePreviousRead()
		}
		if _, err := st.BufferWriter().WriteBytes(t.Append(nil)); err != nil {
			return err
		}
		if err := st.Flush(false); err != nil {
			return err
		}
	}
}

type shmipcClient struct {
	m     *shmipc.SessionManager
	st    *shmipc.Stream
	set   peer.Setting
	batch int
	more  []*shmipc.Stream // of a pipeline
}

func dialShmipc(batch int) func(peer.Setting, string) (peer.Client, error) {
	return func(set peer.Setting, addr string) (peer.Client, error) {
		shmipc.SetLogLevel(shmipcQuiet)
		c := shmipc.DefaultSessionManagerConfig()
		c.Config = shmipcConfig(batch, set)
		c.Network, c.Address = "unix", addr
		m, err := shmipc.NewSessionManager(c)
		if err != nil {
			return nil, err
		}
		st, err := m.GetStream()
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		return &shmipcClient{m: m, st: st, set: set, batch: shmipcBatch(batch, set.Size)}, nil
	}
}

func callShmipc(st *shmipc.Stream, request []byte) ([]byte, error) {
	st.ReleaseReadAndReuse() // the last reply
	if err := writeShmipc(st, request); err != nil {
		return nil, err
	}
	if err := st.Flush(false); err != nil {
		return nil, err
	}
	return st.BufferReader().ReadBytes(len(request))
}

// Call implements peer.Client.
func (c *shmipcClient) Call(request []byte) ([]byte, error) { return callShmipc(c.st, request) }

// Pipeline implements peer.Client: streams of their own one by one, one stream
// in batches.
func (c *shmipcClient) Pipeline(request []byte, more peer.More) (uint64, error) {
	if c.batch > 1 {
		return c.pipelineBatches(request, more)
	}
	return peer.Parallel(func() (func() error, error) {
		st, err := c.m.GetStream()
		if err != nil {
			return nil, err
		}
		c.more = append(c.more, st)
		return func() error {
			reply, err := callShmipc(st, request)
			peer.Touch(reply)
			return err
		}, nil
	}, more)
}

func (c *shmipcClient) pipelineBatches(request []byte, more peer.More) (n uint64, err error) {
	for {
		if err := c.writeBatch(request); err != nil {
			return n, err
		}
		for range c.batch {
			reply, err := c.st.BufferReader().ReadBytes(len(request))
			if err != nil {
				return n, err
			}
			peer.Touch(reply)
		}
		c.st.BufferReader().ReleasePreviousRead()
		if n += uint64(c.batch); !more(n) {
			return n, nil
		}
	}
}

func (c *shmipcClient) writeBatch(message []byte) error {
	for range c.batch {
		if err := writeShmipc(c.st, message); err != nil {
			return err
		}
	}
	return c.st.Flush(false)
}

// Stream implements peer.Client. Up to three rounds are under way without an
// answer. It ends with a whole round, whose answer is the tally.
func (c *shmipcClient) Stream(message []byte, more peer.More) (t peer.Tally, err error) {
	round := uint64(shmipcRound(c.batch, len(message)))
	sent, answered := uint64(0), uint64(0)
	for more(sent) {
		for range round / uint64(c.batch) {
			if err := c.writeBatch(message); err != nil {
				return t, err
			}
		}
		for sent += round; sent-answered > 3*round; answered += round {
			if t, err = c.readTally(); err != nil {
				return t, err
			}
		}
	}
	for ; answered < sent; answered += round {
		if t, err = c.readTally(); err != nil {
			return t, err
		}
	}
	return t, nil
}

func (c *shmipcClient) readTally() (peer.Tally, error) {
	b, err := c.st.BufferReader().ReadBytes(peer.TallySize)
	if err != nil {
		return peer.Tally{}, err
	}
	defer c.st.BufferReader().ReleasePreviousRead()
	return peer.ParseTally(b)
}

// errFallback: the measured product was not the one that was meant.
var errFallback = errors.New("shmipc-go ran out of shared memory and turned to the socket")

// Close implements peer.Client.
func (c *shmipcClient) Close() error {
	_, stable, _ := c.st.Session().GetMetrics()
	var err error
	if n := stable.FallbackWriteCount; n > 0 {
		err = fmt.Errorf("%w, %d times", errFallback, n)
	}
	for _, st := range append(c.more, c.st) {
		err = errors.Join(err, st.Close())
	}
	return errors.Join(err, c.m.Close())
}
