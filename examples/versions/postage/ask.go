package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// ask finds a server of v and asks it count times.
func ask(ctx context.Context, names []string, v version, count int, every time.Duration) error {
	conn, err := find(ctx, names, v)
	if err != nil {
		return err
	}
	defer conn.Close()
	var last string
	var longest time.Duration
	for i := range count {
		if i > 0 {
			time.Sleep(every)
		}
		began := time.Now()
		price, err := quote(ctx, conn, v)
		if err != nil {
			return err
		}
		longest = max(longest, time.Since(began))
		if price != last {
			fmt.Println(price)
			last = price
		}
	}
	if count > 1 {
		fmt.Printf("%d answers over %d links, the slowest took %v\n", count, 1+conn.Stats().Reconnects, longest.Round(10*time.Microsecond))
	}
	return nil
}

// quote makes one call. While a server is replaced, it waits for the next one:
// the method is idempotent, so what was under way is sent again.
func quote(ctx context.Context, conn *rpc.Conn, v version) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return v.quote(ctx, conn)
}

// find connects to the first of several servers that serves v. Who has only
// one server to talk to needs nothing of this: every call finds out by itself.
func find(ctx context.Context, names []string, v version) (*rpc.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var refused error
	for _, name := range names {
		// Whoever is started first waits for the other.
		dial := uds.Dialer(name, &uds.Options{WaitForListener: 5 * time.Second})
		conn, err := rpc.Connect(ctx, dial, nil)
		if err != nil {
			return nil, err
		}
		methods, err := conn.Bind(ctx, v.desc)
		if err == nil {
			fmt.Printf("%s asks %s: %v\n", v.name, name, methods[0].Outcome)
			return conn, nil
		}
		conn.Close()
		if !errors.Is(err, wire.StatusFingerprint) {
			return nil, err
		}
		fmt.Printf("%s asks %s: another schema\n", v.name, name)
		refused = err
	}
	return nil, refused
}
