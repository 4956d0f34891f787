package rpc

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/wire"
)

// ServerOptions tune a server. The zero value of every field means its
// default.
type ServerOptions struct {
	// Name appears in logs, metrics and answers of the operations channel.
	// Default "server".
	Name string
	// Workers is the most goroutines that run blocking handlers at once;
	// default 64.
	Workers int
	// Queue is how many calls of blocking handlers may wait for a worker;
	// more end with wire.StatusResourceExhausted. Default 1024.
	Queue int
	// MaxInFlight bounds the calls of blocking handlers, streams and
	// subscriptions of one link; more end with wire.StatusResourceExhausted.
	// Default 1024, at most 65,536.
	MaxInFlight int
	// MaxRequest is the most bytes of a request or item; larger ones end with
	// wire.StatusTooLarge. Default 16 MiB.
	MaxRequest int
	// MaxPieces bounds the bytes held of requests and items that come in pieces,
	// over all links; more end with wire.StatusResourceExhausted. One link may
	// hold as much as it leaves to the others. Default 32 times MaxRequest, at
	// least 8 times.
	MaxPieces int64
	// InlineReply is the room in bytes for an inline handler's reply with
	// variable parts, where the link takes as much. Default 4096.
	InlineReply int
	// MaxQueued bounds the bytes of answers and items of blocking handlers
	// that wait for room in one link; handlers that send more wait. Default
	// 64 MiB.
	MaxQueued int
	// Window is how many items of a client's stream may wait for a blocking
	// handler; default 64, at most 65,536.
	Window int
	// StreamMemory bounds the bytes of items that wait for the handler of one
	// stream; a client that sends more than it was granted loses the call.
	// Default 64 MiB.
	StreamMemory int
	// MaxDeadline bounds the deadline of every call, also of those without
	// one; 0: no bound.
	MaxDeadline time.Duration
	// Grace is how long Run goes on when its context has ended, so that no
	// call fails for the end of the server: see [Server.Retire]. Default 0.
	Grace time.Duration
	// Operations says which peer may ask what on the operations channel.
	// Default OpenOperations.
	Operations OperationsPolicy
	// Middleware wraps the handlers of services registered later, the first
	// one outermost.
	Middleware []ServerMiddleware
	// Relay, if set, is offered what the server does not serve itself.
	Relay Relay
	// Metrics, if set, shows counters and times of each method to other
	// processes, under a writer of the server's name.
	Metrics *metrics.File
	// Logger receives what people must know, such as panics of handlers. nil
	// is silent.
	Logger *slog.Logger
}

const maxInFlightMost = 1 << 16

func (o *ServerOptions) setDefaults() error {
	if o.Name == "" {
		o.Name = "server"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Operations == nil {
		o.Operations = OpenOperations
	}
	for _, f := range []struct {
		name      string
		value     *int
		def, most int
	}{
		{"Workers", &o.Workers, 64, 1 << 16},
		{"Queue", &o.Queue, 1024, 1 << 20},
		{"MaxInFlight", &o.MaxInFlight, 1024, maxInFlightMost},
		{"MaxRequest", &o.MaxRequest, 16 << 20, wire.MaxLength},
		{"InlineReply", &o.InlineReply, 4096, wire.MaxLength},
		{"MaxQueued", &o.MaxQueued, 64 << 20, wire.MaxLength},
		{"Window", &o.Window, 64, maxWindow},
		{"StreamMemory", &o.StreamMemory, 64 << 20, wire.MaxLength},
	} {
		if err := setCount(f.name, f.value, f.def, f.most); err != nil {
			return err
		}
	}
	unit := int64(max(o.MaxRequest, 4<<10)) // link.Reassembler's buffers are no smaller
	if o.MaxPieces == 0 {
		o.MaxPieces = 32 * unit
	}
	if o.MaxPieces < 8*unit {
		return fmt.Errorf("%w: MaxPieces %d is less than %d, which one request of MaxRequest needs", ErrOptions, o.MaxPieces, 8*unit)
	}
	if o.MaxDeadline < 0 {
		return fmt.Errorf("%w: MaxDeadline %v is negative", ErrOptions, o.MaxDeadline)
	}
	return nil
}

// setCount fills in a default and checks bounds.
func setCount(name string, v *int, def, most int) error {
	if *v == 0 {
		*v = def
	}
	if *v < 1 || *v > most {
		return fmt.Errorf("%w: %s %d is not within 1 to %d", ErrOptions, name, *v, most)
	}
	return nil
}

// maxWindow is the most credit for a stream or subscription, in items.
const maxWindow = 1 << 16
