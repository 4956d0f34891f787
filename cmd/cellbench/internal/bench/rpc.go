package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/echo"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// Who makes typed calls: values of RPC.Caller.
const (
	CallerEngine    = "engine"    // on the thread of an engine, answers come by callback
	CallerGoroutine = "goroutine" // blocking, on an ordinary goroutine
)

// Who handles them: values of RPC.Handler.
const (
	HandlerInline = "inline" // the serving engine's thread, over views
	HandlerPool   = "pool"   // a goroutine of the server's pool
)

// LinkBroadcast is the broadcast ring, for topics.
const LinkBroadcast = "broadcast"

// RPC is what a Spec of report.KindRPC says beside the rest.
type RPC struct {
	Caller  string
	Handler string
	// Window is how many calls are under way at once.
	Window int
}

// MaxWindow bounds RPC.Window.
const MaxWindow = 4096

// callTimeout is the deadline of every call. It is long, because what times out
// here is an error, and hosts stall.
const callTimeout = 5 * time.Second

// Least sizes of a typed call: those of a message with variable parts, and of
// the message whose fields are fixed, which is a cache line.
const (
	lineSize    = Prefix + wire.DeadlineSize + echo.AskBlock
	leastSized  = Prefix + wire.DeadlineSize + echo.SizedBlock
	eventPrefix = Prefix + echo.EventBlock
)

func (s *Spec) rpcDefaults() {
	if s.Kind == report.KindTopic && s.Link == "" {
		s.Link = LinkBroadcast
	}
	if s.Kind != report.KindRPC {
		return
	}
	if s.RPC.Caller == "" {
		s.RPC.Caller = CallerEngine
	}
	if s.RPC.Handler == "" {
		s.RPC.Handler = HandlerInline
	}
	s.RPC.Window = max(s.RPC.Window, 1)
}

// checkRPC refuses what can't be measured of calls and topics.
func (s *Spec) checkRPC() error {
	calls, topic := s.Kind == report.KindRPC, s.Kind == report.KindTopic
	for _, c := range []struct {
		bad  bool
		text string
	}{
		{s.Link == LinkBroadcast && !topic, "--link broadcast: topics only (--topic)"},
		{calls && s.RPC.Caller != CallerEngine && s.RPC.Caller != CallerGoroutine, fmt.Sprintf("--caller %q: engine or goroutine", s.RPC.Caller)},
		{calls && s.RPC.Handler != HandlerInline && s.RPC.Handler != HandlerPool, fmt.Sprintf("--handler %q: inline or pool", s.RPC.Handler)},
		{calls && s.RPC.Window > MaxWindow, fmt.Sprintf("--window %d: from 1 to %d", s.RPC.Window, MaxWindow)},
		{calls && s.RPC.Window > 1 && s.RPC.Caller == CallerGoroutine, "--window: a goroutine makes one call at a time; --caller engine"},
		{calls && s.RPC.Window > 1 && s.Rate != report.MaxRate, "--window: in closed loop only; leave --rate out"},
		{calls && s.RPC.Caller == CallerGoroutine && s.Wait == "yield", "--wait yield: engines only; a goroutine waits by spin, park or adaptive"},
		{calls && s.Size != lineSize && s.Size < leastSized,
			fmt.Sprintf("--size %d: from %d, the least that a message of variable length needs", s.Size, leastSized)},
		{topic && s.Size != eventPrefix, fmt.Sprintf("--size %d: events have %d", s.Size, eventPrefix)},
		{topic && s.Rate != report.MaxRate, "--rate: events are published as fast as it goes"},
	} {
		if c.bad {
			return fmt.Errorf("%w: %s", ErrSpec, c.text)
		}
	}
	return nil
}

// data is how many bytes a call carries beside fixed fields; -1 says that all
// its fields are fixed.
func (s *Spec) data() int {
	if s.Size == lineSize {
		return -1
	}
	return s.Size - leastSized
}

// message is how many bytes of a vesicle are the message.
func (s *Spec) message() int {
	if s.Kind == report.KindTopic {
		return s.Payload()
	}
	return s.Payload() - wire.DeadlineSize
}

// rpc makes one round of typed calls, served by the peer.
func (b *Bench) rpc(ctx context.Context, s *Spec, length time.Duration, info *connInfo) (out report.Sample, err error) {
	j := job{Op: opServe, CPU: s.CPUs[1], Handler: s.RPC.Handler}
	_, err = b.meet(ctx, s, j, info, func(ctx context.Context, c *uds.Conn) (err error) {
		if s.RPC.Caller == CallerEngine {
			out, err = callFromEngine(ctx, s, c, length)
			return err
		}
		return onCPU(s.CPUs[0], func() (err error) { out, err = callFromGoroutine(ctx, s, c, length); return err })
	})
	out.Bytes = out.Count * uint64(s.message())
	return out, err
}

// rpcMetrics is where engines and servers count, as they would in production.
func rpcMetrics() (*metrics.File, error) { return metrics.Anonymous(metrics.Options{}) }
