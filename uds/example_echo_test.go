package uds_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// echo answers every request with its own payload until the caller goes.
func echo(ctx context.Context, c *uds.Conn) error {
	defer c.Close()
	var in, out [1]wire.Vesicle
	for {
		if _, err := c.PollWait(ctx, in[:], uds.WaitAdaptive); errors.Is(err, link.ErrPeerGone) {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := c.ClaimWait(ctx, out[:], len(in[0].Payload), uds.WaitAdaptive); err != nil {
			return err
		}
		copy(out[0].Payload, in[0].Payload) // from the caller's ring into the answer's
		out[0].Header = wire.Header{Kind: wire.KindReply, Correlation: in[0].Header.Correlation}
		if err := errors.Join(c.Commit(out[:]), c.Flush(), c.Release(1)); err != nil {
			return err
		}
	}
}

// call sends one request and hands its answer to use, in place.
func call(ctx context.Context, c *uds.Conn, id uint32, text string, use func([]byte)) error {
	var v [1]wire.Vesicle
	if _, err := c.ClaimWait(ctx, v[:], len(text), uds.WaitSpin); err != nil {
		return err
	}
	copy(v[0].Payload, text)
	v[0].Header = wire.Header{Kind: wire.KindRequest, Correlation: id}
	if err := errors.Join(c.Commit(v[:]), c.Flush()); err != nil {
		return err
	}
	if _, err := c.PollWait(ctx, v[:], uds.WaitSpin); err != nil {
		return err
	}
	use(v[0].Payload) // valid until Release
	return c.Release(1)
}

// A server that waits adaptively and a client that spins, here in one process.
func Example_echo() {
	dir, err := os.MkdirTemp("", "uds") // everybody else leaves Options.Dir empty
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, o := context.Background(), &uds.Options{Dir: dir}
	l, err := uds.Listen("echo", o)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept(ctx)
		if err == nil {
			err = echo(ctx, c)
		}
		served <- err
	}()
	c, err := uds.Dial(ctx, "echo", o)
	if err != nil {
		log.Fatal(err)
	}
	for i, word := range []string{"one", "two"} {
		if err := call(ctx, c, uint32(i), word, func(b []byte) { fmt.Printf("%d %s\n", i, b) }); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(c.Close(), <-served)
	// Output:
	// 0 one
	// 1 two
	// <nil> <nil>
}

// The README shows these functions; what it shows is what is tested here.
func TestReadmeQuotesTheExample(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_echo_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"func echo(", "func call("} {
		_, body, _ := strings.Cut(string(source), "\n"+name)
		body, _, _ = strings.Cut(body, "\n}\n")
		if !strings.Contains(string(readme), name+body+"\n}\n") {
			t.Errorf("README.md doesn't quote %s...) as it stands in uds/example_echo_test.go", name)
		}
	}
}
