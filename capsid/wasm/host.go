package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

const (
	hostArg   = "cell-wasm-host"
	maxModule = 64 << 20
)

// hosting: this program calls Main.
var hosting bool

// Main runs a module, if this process was started for that by a Backend, and
// does not return then. A program that uses the backend calls it before
// anything else.
func Main() {
	hosting = true
	if len(os.Args) != 4 || os.Args[1] != hostArg {
		return
	}
	if err := host(context.Background(), os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// host serves name by the module at path until the node has gone.
func host(ctx context.Context, name, path string) error {
	binary, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	e, err := New(ctx, Options{Log: func(text string) { fmt.Println(text) }})
	if err != nil {
		return err
	}
	m, err := e.Compile(ctx, binary)
	if err != nil {
		return err
	}
	l, err := uds.Listen(name, nil)
	if err != nil {
		return err
	}
	if err := uds.Ready(); err != nil {
		return err
	}
	for {
		c, err := l.Accept(ctx)
		if errors.Is(err, uds.ErrListenerClosed) {
			return nil // with the node
		}
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := m.Serve(ctx, c); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
}

// Serve answers the requests of one connection by one instance of its own,
// until the caller has gone. A guest that traps ends the connection.
func (m *Module) Serve(ctx context.Context, c *uds.Conn) error {
	i, err := m.Spawn(ctx)
	if err != nil {
		return err
	}
	defer i.Close(ctx)
	var in [1]wire.Vesicle
	for {
		_, err := c.PollWait(ctx, in[:], uds.WaitAdaptive)
		if errors.Is(err, link.ErrPeerGone) {
			return nil
		}
		if err != nil {
			return err
		}
		if in[0].Header.Kind == wire.KindRequest {
			err = i.answer(ctx, c, &in[0])
		}
		if err := errors.Join(err, c.Release(1)); err != nil {
			return err
		}
	}
}

// answer copies the request into the guest's memory, which no other process
// shares, and the reply out of it.
func (i *Instance) answer(ctx context.Context, c *uds.Conn, request *wire.Vesicle) error {
	b, err := i.Request(ctx, len(request.Payload))
	var reply []byte
	if err == nil {
		copy(b, request.Payload)
		reply, err = i.Call(ctx, request.Header.Fingerprint, len(b))
	}
	if err == nil && len(reply) > c.Info().MaxPayload {
		err = wire.StatusResourceExhausted
	}
	header := wire.Header{Kind: wire.KindReply, Fingerprint: request.Header.Fingerprint, Correlation: request.Header.Correlation}
	fatal := err
	if err != nil {
		var s wire.Status
		if errors.As(err, &s) {
			fatal = nil
		} else {
			s = wire.StatusInternal
		}
		p := wire.ErrorPayload{Status: s, Message: err.Error()}
		reply, header.Kind = p.Append(nil), wire.KindError
	}
	var out [1]wire.Vesicle
	if _, err := c.ClaimWait(ctx, out[:], len(reply), uds.WaitAdaptive); err != nil {
		return err
	}
	copy(out[0].Payload, reply)
	out[0].Header = header
	return errors.Join(c.Commit(out[:]), c.Flush(), fatal)
}
