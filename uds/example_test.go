package uds_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// A server and a client, here in one process; the server answers one request.
func Example() {
	dir, err := os.MkdirTemp("", "uds") // everybody else leaves Options.Dir empty
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	l, err := uds.Listen("upper", &uds.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go serveOne(ctx, l)

	c, err := uds.Dial(ctx, "upper", &uds.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println("path:", c.Info().Kind, c.Info().Why)

	var v [1]wire.Vesicle
	if _, err := c.ClaimWait(ctx, v[:], 5, uds.WaitAdaptive); err != nil {
		log.Fatal(err)
	}
	copy(v[0].Payload, "hello")
	v[0].Header = wire.Header{Kind: wire.KindRequest, Correlation: 1}
	if err := errors.Join(c.Commit(v[:]), c.Flush()); err != nil {
		log.Fatal(err)
	}
	if _, err := c.PollWait(ctx, v[:], uds.WaitAdaptive); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("reply %d: %s\n", v[0].Header.Correlation, v[0].Payload)
	_, err = c.PollWait(ctx, v[:], uds.WaitAdaptive) // the server has closed by now
	fmt.Println("peer gone:", errors.Is(err, link.ErrPeerGone))
	// Output:
	// path: ring []
	// reply 1: HELLO
	// peer gone: true
}

func serveOne(ctx context.Context, l *uds.Listener) {
	c, err := l.Accept(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	var in, out [1]wire.Vesicle
	if _, err := c.PollWait(ctx, in[:], uds.WaitAdaptive); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Claim(out[:], len(in[0].Payload)); err != nil {
		log.Fatal(err)
	}
	for i, b := range in[0].Payload {
		out[0].Payload[i] = b &^ 0x20
	}
	out[0].Header = wire.Header{Kind: wire.KindReply, Correlation: in[0].Header.Correlation}
	if err := errors.Join(c.Commit(out[:]), c.Flush(), c.Release(1)); err != nil {
		log.Fatal(err)
	}
}

// A refusal tells which side said no, with a number for programs and a
// sentence for people.
func ExampleRefusedError() {
	dir, err := os.MkdirTemp("", "uds")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := uds.Listen("private", &uds.Options{Dir: dir, Policy: func(link.Peer) error {
		return errors.New("closed on Mondays")
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	_, err = uds.Dial(context.Background(), "private", &uds.Options{Dir: dir})
	var r *uds.RefusedError
	fmt.Println(errors.As(err, &r), r.ByPeer, r.Status)
	fmt.Println(r.Reason)
	// Output:
	// true true permission denied
	// policy: closed on Mondays
}
