package bench

import (
	"context"
	"errors"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/echo"
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// serveCalls is the peer's side of typed calls: a server on an engine of its
// own, until the caller goes.
func serveCalls(j job) (err error) {
	idle, err := engine.ParseIdle(j.Wait)
	if err != nil {
		return err
	}
	file, err := rpcMetrics()
	if err != nil {
		return err
	}
	defer file.Close()
	eng, err := engine.New(engine.Config{Name: "server", CPU: j.CPU, Idle: idle, Metrics: file, Batch: 64})
	if err != nil {
		return err
	}
	if err := eng.Start(context.Background()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eng.Stop()) }()
	// A reply of variable length has no deadline before it: room to spare.
	server, err := rpc.NewServer(&rpc.ServerOptions{Name: "echo", Metrics: file, InlineReply: max(j.Payload, 4096), MaxRequest: MaxSize})
	if err != nil {
		return err
	}
	if j.Handler == HandlerPool {
		err = echo.RegisterEcho(server, echo.Pool{})
	} else {
		err = echo.RegisterEchoViews(server, echo.Inline{})
	}
	if err != nil {
		return err
	}
	c, err := uds.Dial(context.Background(), j.Name, options(j.Dir, j.Link, j.Ring, j.Payload))
	if err != nil {
		return err
	}
	if err := server.Serve(eng, c); err != nil {
		return errors.Join(err, c.Close())
	}
	untilGone(server)
	return server.Close()
}

// untilGone returns when the server's links have ended. It looks seldom, since
// it shares the engine's core; two looks, because what it sees may be from
// before the link came.
func untilGone(s *rpc.Server) {
	for none := 0; none < 2; {
		time.Sleep(10 * time.Millisecond)
		if none++; s.Stats().Links > 0 {
			none = 0
		}
	}
}
