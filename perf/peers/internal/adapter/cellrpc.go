package adapter

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/perf/peers/internal/echo"
	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// Cell's rpc: typed messages, correlation, a deadline for every call, statuses.
// Servers are an engine with inline handlers; clients are what the names say.
var cellRPCAdapters = []peer.Adapter{
	{
		Name: "cell-rpc-ring", Family: peer.RPC,
		About: "Cell's typed rpc over rings, an engine on either side that spins, calls and replies in place, each with a deadline",
		Works: []peer.Work{peer.RTT, peer.Pipelined},
		Serve: cellRPC{path: uds.PathRing, idle: engine.IdleSpin}.serve,
		Dial:  cellRPC{path: uds.PathRing, idle: engine.IdleSpin}.attach,
	},
	cellBlocking("cell-rpc-ring-call", "the same, but blocking calls of ordinary goroutines, which spin; streams are one-way calls",
		cellRPC{path: uds.PathRing, idle: engine.IdleSpin, wait: rpc.WaitSpin}),
	cellBlocking("cell-rpc-ring-park", "the same calls, both sides asleep while there is nothing",
		cellRPC{path: uds.PathRing, idle: engine.IdlePark, wait: rpc.WaitPark}),
	cellBlocking("cell-rpc-uds", "blocking calls over a unix socket, both sides spinning",
		cellRPC{path: uds.PathStream, idle: engine.IdleSpin, wait: rpc.WaitSpin}),
	cellBlocking("cell-rpc-uds-park", "blocking calls over a unix socket, both sides asleep while there is nothing",
		cellRPC{path: uds.PathStream, idle: engine.IdlePark, wait: rpc.WaitPark}),
}

// cellRPC is one way to use rpc.
type cellRPC struct {
	path uds.Path
	idle engine.Idle  // of engines
	wait rpc.WaitMode // of blocking callers
}

func cellBlocking(name, about string, m cellRPC) peer.Adapter {
	return peer.Adapter{Name: name, Family: peer.RPC, About: about, Works: everything, Serve: m.serve, Dial: m.dial}
}

// cellTimeout is the deadline of every call.
const cellTimeout = 10 * time.Second

// cellExtra is what an encoded Blob and a deadline take beside the bytes.
const cellExtra = 64

func (m cellRPC) options(set peer.Setting) *uds.Options {
	set.Size += cellExtra
	return cellLink{path: m.path}.options(set)
}

func (m cellRPC) connOptions() *rpc.ConnOptions {
	return &rpc.ConnOptions{Wait: m.wait, Timeout: cellTimeout, MaxReply: largestRPC}
}

// newEngine starts an engine on whatever CPU the process has. An engine wants a
// P beside it for everybody else (docs/ENGINE.md), and Go gives a process that
// is bound to one CPU only one.
func (m cellRPC) newEngine() (*engine.Engine, error) {
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
	e, err := engine.New(engine.Config{CPU: engine.Unpinned, Idle: m.idle, Batch: peer.Window})
	if err != nil {
		return nil, err
	}
	return e, e.Start(context.Background())
}

// cellCounter is the server's account of one-way calls, on its engine's thread.
type cellCounter struct{ t peer.Tally }

// Add implements echo.Counter.
func (c *cellCounter) Add(message []byte) { c.t.Add(message) }

// Get implements echo.Counter.
func (c *cellCounter) Get() (count, sum uint64) { return c.t.Count, c.t.Sum }

type cellRPCServer struct {
	l    *uds.Listener
	e    *engine.Engine
	done chan struct{}
}

func (m cellRPC) serve(set peer.Setting) (peer.Server, error) {
	s, err := rpc.NewServer(&rpc.ServerOptions{MaxRequest: largestRPC, InlineReply: set.Size + cellExtra})
	if err != nil {
		return nil, err
	}
	if err := echo.Register(s, new(cellCounter)); err != nil {
		return nil, err
	}
	e, err := m.newEngine()
	if err != nil {
		return nil, err
	}
	l, err := uds.Listen(cellName, m.options(set))
	if err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	c := &cellRPCServer{l: l, e: e, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		// It ends with the listener.
		_ = s.Accept(context.Background(), e, func(ctx context.Context) (link.Link, error) {
			conn, err := l.Accept(ctx)
			if err != nil {
				return nil, err // not a nil *Conn in an interface
			}
			return conn, nil
		})
	}()
	return c, nil
}

// Addr implements peer.Server.
func (s *cellRPCServer) Addr() string { return cellName }

// Close implements peer.Server.
func (s *cellRPCServer) Close() error {
	err := s.l.Close()
	<-s.done
	return errors.Join(err, s.e.Stop())
}

type cellCaller struct {
	conn *rpc.Conn
	c    *echo.Client
	room [64]byte
}

func (m cellRPC) dial(set peer.Setting, addr string) (peer.Client, error) {
	l, err := uds.Dial(context.Background(), addr, m.options(set))
	if err != nil {
		return nil, err
	}
	conn, err := rpc.NewConn(l, m.connOptions())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &cellCaller{conn: conn, c: echo.NewClient(conn)}, nil
}

// Call implements peer.Client.
func (c *cellCaller) Call(request []byte) ([]byte, error) {
	return c.c.Echo(context.Background(), request, c.room[:])
}

// Pipeline implements peer.Client.
func (c *cellCaller) Pipeline(request []byte, more peer.More) (uint64, error) {
	return peer.Parallel(func() (func() error, error) {
		room := make([]byte, len(c.room))
		return func() error {
			reply, err := c.c.Echo(context.Background(), request, room)
			peer.Touch(reply)
			return err
		}, nil
	}, more)
}

// Stream implements peer.Client.
func (c *cellCaller) Stream(message []byte, more peer.More) (peer.Tally, error) {
	ctx := context.Background()
	take := c.c.Take(message)
	for n := uint64(0); more(n); n++ {
		if err := take(ctx); err != nil {
			return peer.Tally{}, err
		}
	}
	t, err := c.c.Account(ctx)
	return peer.Tally{Count: t.Count, Sum: t.Sum}, err
}

// Close implements peer.Client.
func (c *cellCaller) Close() error { return c.conn.Close() }
