package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/wire"
)

// ConnOptions tune a connection, caller-driven or engine-driven. The zero
// value of every field means its default.
type ConnOptions struct {
	// Wait is how blocking callers wait. An AsyncConn takes no notice of it.
	Wait WaitMode
	// Timeout bounds every call, also of callers whose context has no
	// deadline; 0: no bound of its own.
	Timeout time.Duration
	// MaxInFlight is the most calls under way; more end with
	// wire.StatusResourceExhausted on this side. Default 1024, at most
	// 65,536; rounded up to a power of two.
	MaxInFlight int
	// MaxReply is the most bytes of a reply, item or event; larger ones end
	// the call with wire.StatusTooLarge. Default 16 MiB.
	MaxReply int
	// Window is how many items of one stream may be on their way or waiting
	// here; default 64, at most 65,536.
	Window int
	// StreamMemory bounds the bytes of items that wait here for one stream.
	// Default 64 MiB.
	StreamMemory int
	// Backoff is the least and the most time between attempts to reconnect;
	// default 10 ms and 1 s. It doubles with each failure and is jittered.
	BackoffMin, BackoffMax time.Duration
	// Traceparent says which W3C traceparent a call carries, "" for none;
	// usually the function Traceparent. nil: no call carries one, and none
	// pays for it.
	Traceparent func(context.Context) string
	// Metrics, if set, shows times of each method and a count of failures to
	// other processes, under a writer of the connection's Name.
	Metrics *metrics.File
	// Name tells connections of one metrics file apart. Default "client".
	Name string
	// Logger receives what people must know. nil is silent.
	Logger *slog.Logger
}

func (o *ConnOptions) setDefaults() error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Name == "" {
		o.Name = "client"
	}
	if o.Wait > WaitPark {
		return fmt.Errorf("%w: Wait %d is no mode", ErrOptions, o.Wait)
	}
	if o.Timeout < 0 || o.BackoffMin < 0 || o.BackoffMax < 0 {
		return fmt.Errorf("%w: a duration is negative", ErrOptions)
	}
	if o.BackoffMin == 0 {
		o.BackoffMin = 10 * time.Millisecond
	}
	if o.BackoffMax == 0 {
		o.BackoffMax = max(time.Second, o.BackoffMin)
	}
	for _, f := range []struct {
		name      string
		value     *int
		def, most int
	}{
		{"MaxInFlight", &o.MaxInFlight, 1024, maxInFlightMost},
		{"MaxReply", &o.MaxReply, 16 << 20, wire.MaxLength},
		{"Window", &o.Window, 64, maxWindow},
		{"StreamMemory", &o.StreamMemory, 64 << 20, wire.MaxLength},
	} {
		if err := setCount(f.name, f.value, f.def, f.most); err != nil {
			return err
		}
	}
	return nil
}

// DialFunc opens a link to the server, such as a closure around uds.Dial.
type DialFunc func(ctx context.Context) (link.Link, error)
