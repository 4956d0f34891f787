package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/cmd/cellnode/internal/live"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
)

// maxLine bounds one message of JSON on standard input.
const maxLine = 16 << 20

// newCall makes a call out of JSON.
func newCall(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "call NAME.Method [JSON]",
		Short: "Call a method with JSON, and print the reply as JSON",
		Long: `Asks the cell for its description, makes a message of the JSON, calls, and
prints the reply as a line of JSON. Where several services of a cell have a method
of that name, write NAME.Service.Method. JSON that is - is read from standard input;
left out, the message has nothing set. docs/SCHEMA.md says how messages look in
JSON.

Methods with a stream from the client read its items from standard input, one a
line. Items of a stream from the server are printed as they come, the reply last.

The exit code of a call that failed is 64 + its status: 69 is not found.`,
		Example: `  cellnode call market-ledger.Account '{"Name": "anna"}'
  echo '{"Name": "anna"}' | cellnode call market-ledger.Account -`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: env.completeMethods(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := deadline(cmd, timeout)
			defer cancel()
			text, err := requestText(env.In, args[1:])
			if err != nil {
				return err
			}
			c, m, err := env.find(ctx, args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			return call(ctx, env, c.Conn, m, text)
		},
	}
	timeoutFlag(cmd, &timeout)
	return cmd
}

// requestText returns the JSON of a request, "" for none.
func requestText(in io.Reader, args []string) ([]byte, error) {
	switch {
	case len(args) == 0:
		return nil, nil
	case args[0] != "-":
		return []byte(args[0]), nil
	}
	text, err := io.ReadAll(io.LimitReader(in, maxLine+1))
	if err == nil && len(text) > maxLine {
		err = usagef("standard input has more than %d bytes", maxLine)
	}
	return text, err
}

// call makes a call of any mode.
func call(ctx context.Context, env *Env, conn *rpc.Conn, m *live.Method, text []byte) error {
	if m.Mode == schema.Topic {
		return usagef("%v is a topic: cellnode echo receives its events", m)
	}
	req, err := m.Encode(schema.SlotRequest, text)
	if err != nil {
		return &UsageError{err}
	}
	var reply live.Bytes
	switch m.Mode {
	case schema.Unary:
		err = conn.Call(ctx, m.Method, req, &reply)
	case schema.OneWay:
		if err = conn.Send(ctx, m.Method, req); err != nil {
			return &CallError{err}
		}
		return nil
	default:
		err = stream(ctx, env, conn, m, req, &reply)
	}
	var usage *UsageError
	switch {
	case errors.As(err, &usage):
		return err
	case err != nil:
		return &CallError{err}
	}
	return printMessage(env, m, schema.SlotReply, reply)
}

// stream makes a call with streams: items come from standard input and go to
// standard output, each a line.
func stream(ctx context.Context, env *Env, conn *rpc.Conn, m *live.Method, req rpc.Encoder, reply *live.Bytes) error {
	s, err := conn.Stream(ctx, m.Method, req)
	if err != nil {
		return err
	}
	defer s.Close()
	sent := make(chan error, 1)
	if m.Mode == schema.ServerStream {
		sent <- nil
	} else {
		go func() {
			err := sendItems(env.In, s, m)
			sent <- err // before the end that it brings about is noticed
			if err != nil {
				_ = s.Close()
			}
		}()
	}
	if m.Mode == schema.ClientStream {
		if err := <-sent; err != nil {
			return err
		}
	} else {
		err = printItems(env, s, m)
	}
	if err == nil {
		err = s.Reply(reply)
	}
	select {
	case sendErr := <-sent: // an item that is none explains the end best
		err = errors.Join(sendErr, err)
	default:
	}
	return err
}

// printItems prints the server's items.
func printItems(env *Env, s rpc.Stream, m *live.Method) error {
	for {
		var item live.Bytes
		err := s.Receive(&item)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = printMessage(env, m, schema.SlotOut, item)
		}
		if err != nil {
			return err
		}
	}
}

// sendItems sends what standard input has.
func sendItems(in io.Reader, s rpc.Stream, m *live.Method) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		item, err := m.Encode(schema.SlotIn, lines.Bytes())
		if err != nil {
			return &UsageError{err}
		}
		if err := s.Send(item); err != nil {
			if errors.Is(err, io.EOF) {
				return nil // the call has ended: Reply says how
			}
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return s.CloseSend()
}

// printMessage prints a message as a line of JSON.
func printMessage(env *Env, m *live.Method, slot schema.Slot, message live.Bytes) error {
	json, err := m.Decode(slot, message)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out, "%s\n", json)
	return err
}
