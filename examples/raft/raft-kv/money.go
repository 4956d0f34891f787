package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strconv"

	"github.com/cell-runtime/cell/examples/raft/ledger"
	"github.com/cell-runtime/cell/rpc"
)

// money calls the ledger, by the first member that is there.
func money(ctx context.Context, command string, arg []string) error {
	var conn *rpc.Conn
	err := errors.New("no member")
	for n := 1; n <= 3 && err != nil; n++ {
		conn, err = rpc.Connect(ctx, dial(n), nil)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	book := ledger.NewLedgerClient(conn)
	switch command {
	case "deposit":
		b, err := book.Deposit(ctx, ledger.Deposit{Name: arg[0], Amount: cents(arg[1])})
		if err == nil {
			fmt.Printf("%s has %d\n", arg[0], b.Amount)
		}
		return err
	case "transfer":
		r, err := book.Transfer(ctx, ledger.Transfer{From: arg[0], To: arg[1], Amount: cents(arg[2])})
		if err == nil {
			fmt.Printf("receipt %d: %s has %d, %s has %d\n", r.Number, arg[0], r.From, arg[1], r.To)
		}
		return err
	case "balance":
		b, err := book.Balance(ctx, ledger.Account{Name: arg[0]})
		if err == nil {
			fmt.Printf("%s has %d\n", arg[0], b.Amount)
		}
		return err
	case "total":
		t, err := book.Total(ctx)
		if err == nil {
			fmt.Printf("%d in %d accounts\n", t.Amount, t.Accounts)
		}
		return err
	}
	return errors.New(usage)
}

func cents(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		log.Fatalf("%q is no amount of cents", text)
	}
	return n
}
