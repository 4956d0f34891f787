// Command ticker-subscriber receives prices and says how fast they came and how
// many it has lost.
package main

import (
	"context"
	"flag"
	"fmt"
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

func main() {
	count := flag.Uint64("count", 2_000_000, "end after that many prices, lost ones included")
	link := flag.Bool("link", false, "subscribe over the link, as from another host, instead of through the ring")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *count, *link); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, count uint64, link bool) error {
	dial := uds.Dialer(ticker.Name, &uds.Options{WaitForListener: 5 * time.Second})
	conn, err := rpc.Connect(ctx, dial, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	t := tally{count: count, begin: time.Now()}
	if link {
		err = overLink(ctx, conn, &t)
	} else {
		err = throughRing(ctx, conn, &t)
	}
	if err != nil {
		return err
	}
	seconds := time.Since(t.begin).Seconds()
	fmt.Printf("%d prices: %d received, %d lost; %.2f million a second; the last bid %.2f EUR\n",
		t.received+t.lost, t.received, t.lost, float64(t.received+t.lost)/seconds/1e6, float64(t.bid)/1e8)
	return nil
}

// tally accounts for prices by their sequence numbers.
type tally struct {
	count          uint64
	begin          time.Time
	next           uint64 // expected; 0 before the first
	received, lost uint64
	bid            int64
}

func (t *tally) done() bool { return t.received+t.lost >= t.count }

func (t *tally) take(sequence uint64, bid int64) {
	if t.done() {
		return // the rest of a batch
	}
	if t.received > 0 {
		t.lost += min(sequence-t.next, t.count-t.received-t.lost-1)
	}
	t.received++
	t.next, t.bid = sequence+1, bid
}

// throughRing reads the prices where the publisher writes them. The publisher
// does not notice.
func throughRing(ctx context.Context, conn *rpc.Conn, t *tally) error {
	feed, err := ticker.NewTickerClient(conn).Feed(ctx)
	if err != nil {
		return err
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/fd/%d", feed.PID, feed.FD))
	if err != nil {
		return err
	}
	fd, err := syscall.Dup(int(file.Fd())) // for Attach, which owns it
	file.Close()
	if err != nil {
		return err
	}
	memory, err := ring.Attach(fd, ring.Broadcast)
	if err != nil {
		return err
	}
	defer memory.Close()
	subscriber, err := ring.NewSubscriber(memory, ring.Newest, nil)
	if err != nil {
		return err
	}
	prices, err := ticker.NewTickerPricesListener(subscriber)
	if err != nil {
		return err
	}
	defer prices.Close()
	take := func(e ticker.PriceView) { t.take(e.Sequence(), e.Bid()) }
	for idle := 0; !t.done(); idle++ {
		n, err := prices.Poll(take)
		if err != nil {
			return err
		}
		if n > 0 {
			idle = 0
			continue
		}
		// A ring has no sign of life. The link beside it has.
		if idle%1000 == 999 {
			if err := conn.Ping(ctx); err != nil {
				return err
			}
		}
		time.Sleep(100 * time.Microsecond)
	}
	return nil
}

// overLink receives copies over the link, with credit: whoever is slow loses
// prices and delays nobody.
func overLink(ctx context.Context, conn *rpc.Conn, t *tally) error {
	prices, err := ticker.NewTickerClient(conn).Prices(ctx, rpc.SubscribeOptions{Window: 1 << 16})
	if err != nil {
		return err
	}
	defer prices.Close()
	for !t.done() {
		price, err := prices.Receive()
		if err != nil {
			return err
		}
		t.take(price.Sequence, price.Bid)
	}
	return nil
}
