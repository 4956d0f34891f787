// Command engine matches the market's orders and has trades settled by the
// ledger.
package main

import (
	"context"
	"sync"

	"github.com/cell-runtime/cell/examples/market"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

func main() {
	market.Main(func(ctx context.Context) error {
		conn, err := market.Connect(ctx, market.LedgerName)
		if err != nil {
			return err
		}
		defer conn.Close()
		return market.Serve(ctx, market.ExchangeName, func(s *rpc.Server) error {
			return market.RegisterExchange(s, &exchange{ledger: market.NewLedgerClient(conn), books: map[string]*book{}})
		})
	})
}

// exchange implements market.Exchange. One order is matched at a time.
type exchange struct {
	ledger *market.LedgerClient
	mu     sync.Mutex
	books  map[string]*book
}

// Bounds of an order, and of what rests.
const (
	most        = 1_000_000_000
	mostSymbols = 10_000
	mostResting = 100_000 // orders on a side
)

func (x *exchange) Place(ctx context.Context, req market.Order) (market.Placed, error) {
	side, valid := sideOf(req)
	if !valid {
		return market.Placed{}, rpc.Errorf(wire.StatusInvalidArgument,
			"an order names an account, a symbol, buy or sell, and a price and a quantity from 1 to %d", int64(most))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.books[req.Symbol]
	if b == nil {
		if len(x.books) == mostSymbols {
			return market.Placed{}, rpc.Errorf(wire.StatusResourceExhausted, "%d symbols are traded, which is the limit", mostSymbols)
		}
		b = new(book)
		x.books[req.Symbol] = b
	}
	if len(b[side]) >= mostResting {
		return market.Placed{}, rpc.Errorf(wire.StatusResourceExhausted, "%d orders rest on this side, which is the limit", mostResting)
	}
	return x.match(ctx, b, side, req)
}

// match trades with what rests on the other side while prices cross. When the
// ledger can't be asked, the error is the caller's to see and the order is
// gone; trades before it stand.
func (x *exchange) match(ctx context.Context, b *book, side int, req market.Order) (placed market.Placed, err error) {
	for req.Quantity > 0 {
		best := b.best(side, req.Price)
		if best == nil {
			b.rest(side, req)
			placed.Resting = req.Quantity
			return placed, nil
		}
		trade := market.Trade{Buyer: req.Account, Seller: best.Account, Symbol: req.Symbol,
			Price: best.Price, Quantity: min(req.Quantity, best.Quantity)}
		fault := market.OutcomeBuyerLacks // whose outcome is this order's own
		if side == sell {
			trade.Buyer, trade.Seller = trade.Seller, trade.Buyer
			fault = market.OutcomeSellerLacks
		}
		settlement, err := x.ledger.Settle(ctx, trade)
		switch {
		case err != nil:
			return placed, err
		case settlement.Outcome == market.OutcomeSettled:
			placed.Trades = append(placed.Trades, trade)
			req.Quantity -= trade.Quantity
			b.take(side, trade.Quantity)
		case settlement.Outcome == fault:
			return placed, rpc.Errorf(wire.StatusFailedPrecondition, "%s lacks what %d %s at %d cents take; %d trades were made before",
				req.Account, trade.Quantity, trade.Symbol, trade.Price, len(placed.Trades))
		default:
			b.take(side, best.Quantity) // the one that rested can't keep its word
		}
	}
	return placed, nil
}

func (x *exchange) Book(_ context.Context, req market.Symbol) (market.Book, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.books[req.Name]
	if b == nil {
		return market.Book{}, rpc.Errorf(wire.StatusNotFound, "nobody has traded %q", req.Name)
	}
	return market.Book{Bids: b.levels(buy), Asks: b.levels(sell)}, nil
}
