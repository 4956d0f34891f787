// Command raft-kv is a client of the cluster of this example: whichever members
// live, it finds one.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

const usage = `usage: raft-kv put KEY VALUE | get KEY | delete KEY
       raft-kv leader | status N
       raft-kv deposit NAME CENTS | transfer FROM TO CENTS | balance NAME | total`

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if len(os.Args) < 2 {
		log.Fatal(usage)
	}
	args := append(os.Args[1:], "", "", "") // so that all may be looked at
	if err := run(ctx, args[0], args[1:4]); err != nil {
		log.Fatal(err)
	}
}

// dial says how a member is reached; it need not be there.
func dial(n int) rpc.DialFunc { return uds.Dialer(fmt.Sprintf("raft-%d", n), nil) }

func run(ctx context.Context, command string, arg []string) error {
	store := kv.Dial(nil, dial(1), dial(2), dial(3))
	defer store.Hang()
	switch command {
	case "put":
		return put(ctx, store, arg[0], arg[1])
	case "get":
		r, err := store.Get(ctx, kv.GetRequest{Key: []byte(arg[0])})
		if err == nil && !r.Found {
			return fmt.Errorf("%s is not there", arg[0])
		}
		fmt.Printf("%s\n", r.Value)
		return err
	case "delete":
		r, err := store.Delete(ctx, []byte(arg[0]), nil)
		fmt.Printf("%d deleted\n", r.Deleted)
		return err
	case "leader":
		return leader(ctx, store)
	case "status":
		return status(ctx, arg[0])
	}
	return money(ctx, command, arg)
}

// put says how long it took, which is what a change of leaders takes if there
// is one, and who led in the end.
func put(ctx context.Context, store *kv.Client, key, value string) error {
	began := time.Now()
	r, err := store.Put(ctx, []byte(key), []byte(value), 0)
	if err != nil {
		return err
	}
	took := time.Since(began)
	info, err := store.Info(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("revision %d, after %d ms, leader %d\n", r.Revision, took.Milliseconds(), info.Leader)
	return nil
}

func leader(ctx context.Context, store *kv.Client) error {
	for {
		info, err := store.Info(ctx)
		if err != nil {
			return err
		}
		if info.Leader != 0 {
			fmt.Println(info.Leader)
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// status asks one member, once it is there and has what the others have.
func status(ctx context.Context, which string) error {
	n, err := strconv.Atoi(which)
	if err != nil {
		return err
	}
	one := kv.Dial(nil, dial(n))
	defer one.Hang()
	if _, err := one.Range(ctx, kv.RangeRequest{Limit: 1}); err != nil { // linearizable: it has caught up
		return err
	}
	info, err := one.Info(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("member %d: %d keys, revision %d\n", info.Replica, info.Keys, info.Revision)
	return nil
}
