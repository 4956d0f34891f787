// Command gateway is the market's door to the world: HTTP and JSON outside,
// typed calls inside.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/cell-runtime/cell/examples/market"
)

func main() {
	address := flag.String("listen", "127.0.0.1:8080", "where to speak HTTP")
	flag.Parse()
	market.Main(func(ctx context.Context) error { return run(ctx, *address) })
}

// run listens at once, so that whoever comes waits, and answers when the
// servers behind it are there.
func run(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer listener.Close()
	ledgerConn, err := market.Connect(ctx, market.LedgerName)
	if err != nil {
		return err
	}
	defer ledgerConn.Close()
	exchangeConn, err := market.Connect(ctx, market.ExchangeName)
	if err != nil {
		return err
	}
	defer exchangeConn.Close()
	server := &http.Server{
		Handler:           routes(market.NewLedgerClient(ledgerConn), market.NewExchangeClient(exchangeConn)),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
	}
	go func() {
		<-ctx.Done()
		finish, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(finish)
	}()
	log.Printf("http://%v", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func routes(ledger *market.LedgerClient, exchange *market.ExchangeClient) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /deposits", call(fromBody[market.Deposit], ledger.Deposit))
	mux.Handle("GET /accounts/{name}", call(func(r *http.Request) (market.AccountName, error) {
		return market.AccountName{Name: r.PathValue("name")}, nil
	}, ledger.Account))
	mux.Handle("POST /orders", call(fromBody[market.Order], exchange.Place))
	mux.Handle("GET /books/{name}", call(func(r *http.Request) (market.Symbol, error) {
		return market.Symbol{Name: r.PathValue("name")}, nil
	}, exchange.Book))
	return mux
}
