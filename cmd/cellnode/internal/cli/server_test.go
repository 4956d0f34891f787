package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cell-runtime/cell/cmd/cellnode/internal/live"
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// numbers is a service with a method of every mode.
const numbers = `cell 1

struct Number {
	Value int64
}

service Numbers {
	call Double(Number) Number
	call Count(Number, out Number) Number
	call Sum(in Number) Number
	call Squares(in Number, out Number) Number
	oneway Note(Number)
	topic Ticks(Number)
}
`

func number(v int64) live.Bytes { return binary.LittleEndian.AppendUint64(nil, uint64(v)) }
func value(b []byte) int64      { return int64(binary.LittleEndian.Uint64(b)) }

// handlers serve Numbers, in its order.
func handlers(notes chan<- int64) []rpc.Handler {
	return []rpc.Handler{
		rpc.Blocking(func(_ context.Context, x *rpc.Exchange) error {
			v := value(x.Request())
			if v < 0 {
				return rpc.Errorf(wire.StatusOutOfRange, "%d is below 0", v)
			}
			return x.Reply(number(2 * v))
		}),
		rpc.Blocking(func(_ context.Context, x *rpc.Exchange) error {
			n := value(x.Request())
			for i := range n {
				if err := x.Send(number(i)); err != nil {
					return err
				}
			}
			return x.Reply(number(n))
		}),
		rpc.Blocking(func(_ context.Context, x *rpc.Exchange) error {
			sum := int64(0)
			for {
				var b live.Bytes
				err := x.Receive(&b)
				if errors.Is(err, io.EOF) {
					return x.Reply(number(sum))
				}
				if err != nil {
					return err
				}
				sum += value(b)
			}
		}),
		rpc.Blocking(func(_ context.Context, x *rpc.Exchange) error {
			n := int64(0)
			for ; ; n++ {
				var b live.Bytes
				err := x.Receive(&b)
				if errors.Is(err, io.EOF) {
					return x.Reply(number(n))
				}
				if err == nil {
					err = x.Send(number(value(b) * value(b)))
				}
				if err != nil {
					return err
				}
			}
		}),
		rpc.Blocking(func(_ context.Context, x *rpc.Exchange) error { notes <- value(x.Request()); return nil }),
		{},
	}
}

// host is a runtime directory with a cell.
type host struct {
	dir    string
	notes  chan int64
	server *rpc.Server
}

// serve serves Numbers as "numbers" in a runtime directory of its own, with
// metrics, and publishes ticks.
func serve(t *testing.T) host {
	t.Helper()
	h := host{dir: t.TempDir(), notes: make(chan int64, 1)}
	if err := os.Chmod(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file, err := metrics.Create(filepath.Join(h.dir, "numbers.metrics"), metrics.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if h.server, err = rpc.NewServer(&rpc.ServerOptions{Name: "numbers", Metrics: file}); err != nil {
		t.Fatal(err)
	}
	parsed, err := schema.Parse(numbers)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := live.Describe(parsed.Services[0], numbers)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.server.Register(desc, handlers(h.notes)...); err != nil {
		t.Fatal(err)
	}
	l, err := uds.Listen("numbers", &uds.Options{Dir: h.dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	e, err := engine.New(engine.Config{Name: "serve", CPU: engine.Unpinned, Idle: engine.IdlePark, Metrics: file})
	if err == nil {
		err = e.Start(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = h.server.Accept(ctx, e, l.AcceptLink) }()
	go h.publish(ctx, desc.Method("Ticks"))
	t.Cleanup(func() {
		stop()
		_ = h.server.Close()
		_ = l.Close()
		<-ended
		_ = e.Stop()
	})
	return h
}

func (h host) publish(ctx context.Context, m *rpc.Method) {
	p, err := h.server.Publisher(m)
	for i := int64(0); err == nil && ctx.Err() == nil; i++ {
		err = p.Publish(ctx, number(i))
		time.Sleep(2 * time.Millisecond)
	}
}

// run runs a command line against the host.
func (h host) run(t *testing.T, args ...string) (code int, out, complaints string) {
	t.Helper()
	return run(t, append([]string{"--runtime-dir", h.dir}, args...)...)
}

// abandon leaves the socket of a process that is gone.
func (h host) abandon(t *testing.T, name string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(h.dir, name+".sock")})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
