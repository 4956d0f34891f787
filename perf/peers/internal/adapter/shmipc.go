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
// that memory (Reserve) by Go's copy, and read where they lie (ReadBytes). How fast
// long ones are is the copy's doing, so it is also measured with Cell's.
var shmipcAdapters = []peer.Adapter{
	shmipcAdapter("shmipc", "shmipc-go tuned for each size, written and read in place, a flush a message; pipelines are 64 of its streams",
		everything, shmipcUse{batch: 1}),
	shmipcAdapter("shmipc-batched", "the same, up to 64 messages (1 MiB) a flush",
		[]peer.Work{peer.Pipelined, peer.Stream}, shmipcUse{batch: peer.Window}),
	shmipcAdapter("shmipc-lent", "shmipc-batched with what is no part of it: Cell's own copy (ring.Copy) for the user's",
		[]peer.Work{peer.Stream}, shmipcUse{batch: peer.Window, copy: ring.Copy}),
	shmipcAdapter("shmipc-defaults", "shmipc-go with its default configuration (memory by memfd) and its own copying WriteBytes",
		everything, shmipcUse{batch: 1, defaults: true}),
}

// shmipcUse is one way to use the library.
type shmipcUse struct {
	batch    int                       // messages in one flush, for small ones
	defaults bool                      // its default configuration
	copy     func(dst, src []byte) int // the user's; nil: Go's
}

func shmipcAdapter(name, about string, works []peer.Work, u shmipcUse) peer.Adapter {
	return peer.Adapter{Name: name, Family: peer.Transport, Module: "github.com/cloudwego/shmipc-go",
		About: about, Works: works, Serve: u.serve, Dial: u.dial}
}

const (
	// shmipcUnderWay is the most bytes under way on one stream, as far as
	// single messages allow. When its memory ends the library turns to the
	// socket, for good; a user has to bound what he sends, and here the
	// reader's answers do that. It also keeps the memory in the caches: with
	// 16 MiB, streams of 64 KiB had a third of the speed that they have with 4.
	shmipcUnderWay = 4 << 20
	// shmipcLargestBatch bounds the bytes of one flush.
	shmipcLargestBatch = 1 << 20
	// shmipcQuiet turns its log off: it goes to the standard output.
	shmipcQuiet = 5
)

// batchOf is how many messages of size go into one flush.
func (u shmipcUse) batchOf(size int) int { return max(1, min(u.batch, shmipcLargestBatch/size)) }

// roundOf is after how many messages the reader of a stream answers; four
// rounds may be under way.
func (u shmipcUse) roundOf(size int) int {
	if u.defaults { // each message takes a slice of 8 KiB at least
		return max(1, min(256, shmipcUnderWay/8/size))
	}
	b := u.batchOf(size)
	return max(1, min(1024, shmipcUnderWay/4/size)/b) * b
}

// config is that of the library's own benchmarks: memory by memfd, a long
// queue, slices that hold a message (here: a batch of small ones) each. Only
// the memory is smaller than their 256 MiB, twice what can be under way: its
// slices are used in turn, and the more there are, the colder the caches.
func (u shmipcUse) config(set peer.Setting) *shmipc.Config {
	c := shmipc.DefaultConfig()
	c.MemMapType = shmipc.MemMapTypeMemFd
	// Sessions of one process share memory under one name, which tests don't want.
	c.ShareMemoryPathPrefix = fmt.Sprintf("/dev/shm/cell-perf-%d-%d", os.Getpid(), shmipcNames.Add(1))
	if u.defaults {
		return c
	}
	c.QueueCap = 65535
	slice := max(set.Size, min(u.batchOf(set.Size)*set.Size, 64<<10)) + 256
	slices := 4 * peer.Window
	if set.Work == peer.RTT {
		slices = 16
	} else if set.Work == peer.Stream {
		slices = 8 * u.roundOf(set.Size) / max(1, slice/(set.Size+256))
	}
	c.ShareMemoryBufferCap = uint32(max(4<<20, slices*(slice+64)))
	c.BufferSliceSizes = []*shmipc.SizePercentPair{{Size: uint32(slice), Percent: 100}}
	return c
}

var shmipcNames atomic.Uint32

type shmipcServer struct {
	l       *shmipc.Listener
	use     shmipcUse
	set     peer.Setting
	streams sync.WaitGroup
}

func (u shmipcUse) serve(set peer.Setting) (peer.Server, error) {
	shmipc.SetLogLevel(shmipcQuiet)
	c := shmipc.NewDefaultListenerConfig(filepath.Join(set.Dir, "s"), "unix")
	c.Config = u.config(set)
	s := &shmipcServer{use: u, set: set}
	l, err := shmipc.NewListener(s, c)
	if err != nil {
		return nil, err
	}
	s.l = l
	go l.Run() // ends with Close
	return s, nil
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
			_ = s.use.take(st, s.set.Size)
		} else {
			_ = s.use.echo(st, s.set.Size)
		}
		st.Close()
	})
}

// write puts b into the shared memory; Flush sends it.
func (u shmipcUse) write(st *shmipc.Stream, b []byte) error {
	if u.defaults {
		_, err := st.BufferWriter().WriteBytes(b)
		return err
	}
	place, err := st.BufferWriter().Reserve(len(b))
	if u.copy != nil {
		u.copy(place, b)
	} else {
		copy(place, b)
	}
	return err
}

func (u shmipcUse) echo(st *shmipc.Stream, size int) error {
	batch := u.batchOf(size)
	for {
		for range batch {
			b, err := st.BufferReader().ReadBytes(size)
			if err != nil {
				return err
			}
			if err := u.write(st, b); err != nil {
				return err
			}
		}
		st.BufferReader().ReleasePreviousRead()
		if err := st.Flush(false); err != nil {
			return err
		}
	}
}

// take tells the tally after every round of messages.
func (u shmipcUse) take(st *shmipc.Stream, size int) error {
	var t peer.Tally
	round := u.roundOf(size)
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
	use   shmipcUse
	m     *shmipc.SessionManager
	st    *shmipc.Stream
	batch int
	more  []*shmipc.Stream // of a pipeline
}

func (u shmipcUse) dial(set peer.Setting, addr string) (peer.Client, error) {
	shmipc.SetLogLevel(shmipcQuiet)
	c := shmipc.DefaultSessionManagerConfig()
	c.Config = u.config(set)
	c.Network, c.Address = "unix", addr
	m, err := shmipc.NewSessionManager(c)
	if err != nil {
		return nil, err
	}
	st, err := m.GetStream()
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return &shmipcClient{use: u, m: m, st: st, batch: u.batchOf(set.Size)}, nil
}

func (u shmipcUse) call(st *shmipc.Stream, request []byte) ([]byte, error) {
	st.ReleaseReadAndReuse() // the last reply
	if err := u.write(st, request); err != nil {
		return nil, err
	}
	if err := st.Flush(false); err != nil {
		return nil, err
	}
	return st.BufferReader().ReadBytes(len(request))
}

// Call implements peer.Client.
func (c *shmipcClient) Call(request []byte) ([]byte, error) { return c.use.call(c.st, request) }

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
			reply, err := c.use.call(st, request)
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
		if err := c.use.write(c.st, message); err != nil {
			return err
		}
	}
	return c.st.Flush(false)
}

// Stream implements peer.Client. Up to three rounds are under way without an
// answer. It ends with a whole round, whose answer is the tally.
func (c *shmipcClient) Stream(message []byte, more peer.More) (t peer.Tally, err error) {
	round := uint64(c.use.roundOf(len(message)))
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
