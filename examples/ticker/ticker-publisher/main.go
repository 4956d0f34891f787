// Command ticker-publisher publishes prices at a fixed rate, to subscribers of
// this host through a broadcast ring and to all others over their links.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/examples/ticker"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// history is the ring's size in bytes: 131,072 prices. A subscriber that is
// further behind than that loses some, and is told how many.
const history = 8 << 20

func main() {
	rate := flag.Int("rate", 1_000_000, "prices a second")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *rate); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// feed implements ticker.Ticker.
type feed struct{ ring *ring.Memory }

func (f feed) Feed(context.Context) (ticker.Feed, error) {
	return ticker.Feed{PID: int32(os.Getpid()), FD: int32(f.ring.FD())}, nil
}

// Prices is there for the interface: a topic is published, not called.
func (feed) Prices(ticker.Price) {}

func run(ctx context.Context, rate int) error {
	memory, err := ring.Create(ring.Options{Kind: ring.Broadcast, Size: history, Name: ticker.Name})
	if err != nil {
		return err
	}
	defer memory.Close()
	server, err := rpc.NewServer(nil)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := ticker.RegisterTicker(server, feed{memory}); err != nil {
		return err
	}
	out, err := newPublisher(server, memory)
	if err != nil {
		return err
	}
	l, err := uds.Listen(ticker.Name, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	ctx, stop := context.WithCancelCause(ctx)
	published := make(chan struct{})
	go func() {
		defer close(published)
		stop(out.publish(ctx, rate))
	}()
	err = server.Run(ctx, l.AcceptLink)
	stop(err)
	<-published // before the ring is unmapped
	return context.Cause(ctx)
}

// publisher publishes one topic both ways.
type publisher struct {
	local  *ticker.TickerPricesBroadcast // subscribers of this host
	remote ticker.TickerPricesPublisher  // over links
}

func newPublisher(server *rpc.Server, memory *ring.Memory) (p publisher, err error) {
	through, err := ring.NewPublisher(memory)
	if err != nil {
		return p, err
	}
	if p.local, err = ticker.NewTickerPricesBroadcast(through); err != nil {
		return p, err
	}
	p.remote, err = ticker.NewTickerPricesPublisher(server)
	return p, err
}

// publish publishes what is due, once a millisecond, until ctx ends.
func (p publisher) publish(ctx context.Context, rate int) error {
	pulse := time.NewTicker(time.Millisecond)
	defer pulse.Stop()
	begin, sequence := time.Now(), uint64(0)
	for {
		select {
		case <-pulse.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := time.Now()
		for due := uint64(now.Sub(begin).Seconds() * float64(rate)); sequence < due; sequence++ {
			price := quote(sequence, now)
			if err := p.local.Publish(price); err != nil {
				return err
			}
			if err := p.remote.Publish(ctx, price); err != nil {
				return err
			}
		}
		if err := p.local.Flush(); err != nil { // now they are visible
			return err
		}
	}
}

// quote makes up a price.
func quote(sequence uint64, now time.Time) ticker.Price {
	middle := int64(100e8) + int64(sequence%1000)*1e4
	return ticker.Price{
		Sequence: sequence, At: uint64(now.UnixNano()), Instrument: uint32(sequence % 16),
		Bid: middle - 1e6, Ask: middle + 1e6,
	}
}
